//! `berth login` and `berth logout`

use std::{io, process::ExitCode};

use clap::Args;
use console::Term;

use super::{
    Session,
    credentials::{AuthFile, read_password},
    error::{Answer as _, Error},
    print_line,
};
use crate::berth_wire::{LoginRequest, RegistryAuth};

/// The registry of names that have none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// Check a user name and password at a registry, and keep them for later pulls and pushes.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// User name; asked for if it is not given
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    file: AuthFile,
    /// Host, and port
    #[arg(default_value = DEFAULT_REGISTRY)]
    registry: String,
}

/// Forget the user name and password for a registry.
#[derive(Debug, Args)]
pub(super) struct Logout {
    #[command(flatten)]
    file: AuthFile,
    /// Host, and port
    #[arg(default_value = DEFAULT_REGISTRY)]
    registry: String,
}

impl Login {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let registry = host(&self.registry);
        let username = match self.username {
            Some(username) => username,
            None => ask("Username: ", Term::read_line)?,
        };
        let password = if self.password_stdin { read_password()? } else { ask("Password: ", Term::read_secure_line)? };
        let auth = RegistryAuth { username: username.clone(), password: password.clone(), ..Default::default() };
        let request = LoginRequest { registry: registry.to_owned(), auth: Some(auth) };
        session.engine.own.check_login(request).await.during(format!("log in to {registry}"))?;
        let file = self.file.of_login();
        file.store(registry, &username, &password).await?;
        print_line(&format!("logged in to {registry}; {} says where the password is", file.path().display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Logout {
    pub(super) async fn perform(self) -> Result<ExitCode, Error> {
        let (registry, file) = (host(&self.registry), self.file.of_login());
        if !file.erase(registry).await? {
            return Err(Error::NoSuch { kind: "login", given: registry.to_owned() });
        }
        print_line(&format!("logged out of {registry}"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks the person at the terminal.
fn ask(question: &str, read: impl Fn(&Term) -> io::Result<String>) -> Result<String, Error> {
    let terminal = Term::stderr();
    let failed = |source| Error::Read { path: "the terminal".into(), source };
    if !terminal.is_term() {
        return Err(failed(io::Error::other("there is none; use --username and --password-stdin")));
    }
    terminal.write_str(question).map_err(Error::Output)?;
    read(&terminal).map_err(failed)
}

/// The host of what may be written as an address, and Docker Hub under whichever name.
fn host(registry: &str) -> &str {
    let rest = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_hosts_however_they_are_written() {
        for (text, expected) in [
            ("a.example:5000", "a.example:5000"),
            ("https://a.example/v2/", "a.example"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
        ] {
            assert_eq!(host(text), expected);
        }
    }
}
