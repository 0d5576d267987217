//! The verbs that people type: clients of the engine's socket.
//!
//! - **Owns:** command lines, tables and JSON for programs, hints, exit codes.
//! - **Never:** touches what the engine owns. Everything goes through the socket, but for container logs: the CRI
//!   makes them files for clients to read.
//! - **Runs in:** a process of its own, for one verb.
//! - **Start reading at:** [`run`], then the file of a verb.

mod attach;
mod check;
mod checkpoint;
mod completion;
mod connection;
mod container_options;
mod credentials;
mod error;
mod events;
mod exec;
mod image;
mod info;
mod inspect;
mod json;
mod log_file;
mod login;
mod logs;
mod lookup;
mod pod;
mod pod_options;
mod port_forward;
mod ps;
mod remote;
mod resource_options;
mod rm;
mod run;
mod stats;
mod stop;
mod system;
mod table;
mod terminal;
mod units;
mod update;
mod version;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use tokio::runtime::Runtime;

use self::{
    connection::{Engine, Host},
    error::Error,
};

/// Exit code of `run`, `exec` and `attach` when the engine, not the command, failed; as with docker.
const ENGINE_FAILED: u8 = 125;
/// Exit code after the reader of our output went away: that of a death by `SIGPIPE`.
const BROKEN_PIPE: u8 = 141;

/// One static binary that is the whole container engine of a host.
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    disable_help_subcommand = true,
    after_help = "The engine itself is started with `berth serve`; see `berth serve --help`."
)]
struct CommandLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Global {
    /// The engine's socket
    #[arg(long, global = true, env = "BERTH_HOST", default_value = connection::DEFAULT_HOST, value_name = "unix://PATH")]
    host: Host,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Engine(EngineVerb),
    #[command(flatten)]
    Host(HostVerb),
}

/// Verbs that speak to a running engine.
#[derive(Debug, Subcommand)]
enum EngineVerb {
    /// Work with pods
    #[command(subcommand)]
    Pod(pod::Verb),
    /// Work with images
    #[command(subcommand)]
    Image(image::Verb),
    /// Keep a user name and password for a registry
    Login(login::Login),
    /// List containers
    Ps(ps::Ps),
    /// Run a command in a new container, in a pod of its own
    Run(Box<run::Run>),
    /// Run a command in a running container
    Exec(exec::Exec),
    /// Watch what a running container writes, and type to it
    Attach(attach::Attach),
    /// Let connections to ports of this host lead into a pod
    PortForward(port_forward::PortForward),
    /// Print what containers wrote
    Logs(logs::Logs),
    /// Print all that is known about containers, as JSON
    Inspect(inspect::Inspect),
    /// Stop containers
    Stop(stop::Stop),
    /// Remove containers
    Rm(rm::Rm),
    /// Change what running containers may use
    Update(update::Update),
    /// Write a running container into an archive
    Checkpoint(checkpoint::Checkpoint),
    /// Print what containers use
    Stats(stats::Stats),
    /// Print what happens to pods and containers
    Events,
    /// Print the engine's state
    Info,
    /// Print the versions of client and engine
    Version,
}

/// Verbs that need none.
#[derive(Debug, Subcommand)]
enum HostVerb {
    /// Say what this host lacks for the engine
    Check(check::Check),
    /// Work with the engine as a whole
    #[command(subcommand)]
    System(system::Verb),
    /// Forget the user name and password for a registry
    Logout(login::Logout),
    /// Print a completion script for a shell
    Completion(completion::Completion),
}

/// What every verb works with.
#[derive(Debug)]
struct Session {
    engine: Engine,
    json: bool,
}

/// Runs the verb that the command line (with the program's name first) asks for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line = match CommandLine::try_parse_from(args) {
        Ok(command_line) => command_line,
        Err(refusal) => {
            // Help and version are "errors" too, for standard output and with code 0.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    let CommandLine { global, verb } = command_line;
    match verb {
        Verb::Host(verb) => told(verb.perform(global.json), 1),
        Verb::Engine(verb) => {
            let runs_a_command = matches!(verb, EngineVerb::Run(_) | EngineVerb::Exec(_) | EngineVerb::Attach(_));
            let ended = runtime().and_then(|runtime| runtime.block_on(verb.perform(global)));
            let failed = ended.as_ref().err().filter(|_| runs_a_command).map_or(1, Error::command_exit_code);
            told(ended, failed)
        }
    }
}

fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)
}

/// The process's exit code; a failure is reported and has `failed`.
fn told(ended: Result<ExitCode, Error>, failed: u8) -> ExitCode {
    match ended {
        Ok(code) => code,
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(BROKEN_PIPE),
        Err(error) => {
            let _ = complain(&error);
            ExitCode::from(failed)
        }
    }
}

impl EngineVerb {
    async fn perform(self, global: Global) -> Result<ExitCode, Error> {
        let mut session = Session { engine: Engine::connect(&global.host).await?, json: global.json };
        let session = &mut session;
        match self {
            Self::Pod(verb) => verb.perform(session).await,
            Self::Image(verb) => verb.perform(session).await,
            Self::Login(verb) => verb.perform(session).await,
            Self::Ps(verb) => verb.perform(session).await,
            Self::Run(verb) => verb.perform(session).await,
            Self::Exec(verb) => verb.perform(session).await,
            Self::Attach(verb) => verb.perform(session).await,
            Self::PortForward(verb) => verb.perform(session).await,
            Self::Logs(verb) => verb.perform(session).await,
            Self::Inspect(verb) => verb.perform(session).await,
            Self::Stop(verb) => verb.perform(session).await,
            Self::Rm(verb) => verb.perform(session).await,
            Self::Update(verb) => verb.perform(session).await,
            Self::Checkpoint(verb) => verb.perform(session).await,
            Self::Stats(verb) => verb.perform(session).await,
            Self::Events => events::perform(session).await,
            Self::Info => info::perform(session).await,
            Self::Version => version::perform(session).await,
        }
    }
}

impl HostVerb {
    fn perform(self, json: bool) -> Result<ExitCode, Error> {
        match self {
            Self::Check(verb) => verb.perform(json),
            Self::System(verb) => verb.perform(),
            Self::Logout(verb) => runtime()?.block_on(verb.perform()),
            Self::Completion(verb) => verb.perform(&mut CommandLine::command()),
        }
    }
}

/// Does something with each of several things, goes on after failures, and prints the names of those that were done.
async fn each(
    things: &[String],
    session: &mut Session,
    mut act: impl AsyncFnMut(&mut Session, &str) -> Result<(), Error>,
) -> Result<ExitCode, Error> {
    let mut failed = 0;
    for thing in things {
        match act(session, thing).await {
            Ok(()) => print_line(thing)?,
            Err(error) if things.len() == 1 => return Err(error),
            Err(error) => {
                failed += 1;
                complain(&error)?;
            }
        }
    }
    if failed > 0 { Err(Error::Several { failed, total: things.len() }) } else { Ok(ExitCode::SUCCESS) }
}

/// Reports a failure on standard error.
fn complain(error: &Error) -> Result<(), Error> {
    io::stderr().write_all(error.report().as_bytes()).map_err(Error::Output)
}

/// Writes to standard output at once.
fn print(text: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(Error::Output)
}

/// Writes one line to standard output.
fn print_line(line: &str) -> Result<(), Error> {
    print(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_command() {
        let parsed = CommandLine::try_parse_from(["berth", "run", "--rm", "busybox", "ls", "-l", "--json", "--rm"]);
        let CommandLine { global, verb: Verb::Engine(EngineVerb::Run(run)) } = parsed.expect("parses") else {
            panic!("not run")
        };
        assert!(!global.json);
        assert_eq!(run.image_and_command(), ["busybox", "ls", "-l", "--json", "--rm"]);
        let parsed = CommandLine::try_parse_from(["berth", "run", "busybox", "-c", "true"]).expect("parses");
        let Verb::Engine(EngineVerb::Run(run)) = parsed.verb else { panic!("not run") };
        assert_eq!(run.image_and_command(), ["busybox", "-c", "true"]);
    }

    #[test]
    fn a_pods_flags_mean_nothing_in_a_pod_that_is_there() {
        let parse = |flags: &[&str]| CommandLine::try_parse_from([&["berth", "run", "--pod", "web"], flags].concat());
        assert!(parse(&["-l", "a=b", "busybox"]).is_ok());
        assert!(parse(&["-p", "80:80", "busybox"]).is_err());
    }

    #[test]
    fn an_unknown_flag_before_the_image_is_refused() {
        assert!(CommandLine::try_parse_from(["berth", "run", "--no-such-flag", "busybox"]).is_err());
    }
}
