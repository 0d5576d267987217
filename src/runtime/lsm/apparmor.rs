//! AppArmor, `apparmor(7)`.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use super::{Error, ExecLabel};
use crate::types::Profile;

/// Name of the engine's own profile.
pub const DEFAULT_PROFILE: &str = "berth-default";

/// What [`DEFAULT_PROFILE`] says, but for the peers that depend on the daemon's own profile.
const DEFAULT_RULES: &str = include_str!("apparmor.profile");

/// Places of the policy compiler beside `PATH`, which a service's often lacks.
const PARSERS: &[&str] = &["apparmor_parser", "/usr/sbin/apparmor_parser", "/sbin/apparmor_parser"];

/// Whether the kernel enforces AppArmor.
pub fn enabled() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// The label for a container that asks for `profile`; `None` leaves the process as it is.
///
/// The default profile is loaded if need be. Where that fails, only a container that asks for it by name fails too:
/// one that asks for nothing runs without, as on a host without AppArmor.
///
/// # Errors
/// A named profile that is not loaded, or any named profile where AppArmor is off. `RuntimeDefault` and nothing at all
/// are met there by doing nothing.
pub fn plan(profile: Option<&Profile>, privileged: bool) -> Result<Option<ExecLabel>, Error> {
    match choose(profile, privileged, enabled())? {
        Choice::Nothing => Ok(None),
        Choice::Default { required } => match ensure_default_profile() {
            Ok(()) => Ok(Some(ExecLabel::AppArmor(DEFAULT_PROFILE.to_owned()))),
            Err(error) if required => Err(error),
            Err(_) => Ok(None),
        },
        Choice::Named(name) if is_loaded(name)? => Ok(Some(ExecLabel::AppArmor(name.to_owned()))),
        Choice::Named(name) => Err(Error::ProfileNotLoaded(name.to_owned())),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice<'a> {
    Nothing,
    Default { required: bool },
    Named(&'a str),
}

fn choose(profile: Option<&Profile>, privileged: bool, enabled: bool) -> Result<Choice<'_>, Error> {
    match profile {
        Some(Profile::Localhost(name)) if !enabled => Err(Error::AppArmorOff(name.clone())),
        Some(Profile::Localhost(name)) => Ok(Choice::Named(name)),
        Some(Profile::Unconfined) => Ok(Choice::Nothing),
        None | Some(Profile::RuntimeDefault) if !enabled || privileged => Ok(Choice::Nothing),
        Some(Profile::RuntimeDefault) => Ok(Choice::Default { required: true }),
        None => Ok(Choice::Default { required: false }),
    }
}

/// Loads [`DEFAULT_PROFILE`] unless the kernel has it. To be called once at the daemon's start, so that a failure is seen
/// in its log.
///
/// # Errors
/// The kernel only takes compiled policy, and the compiler is the host's `apparmor_parser`: without it, or if it fails.
pub fn ensure_default_profile() -> Result<(), Error> {
    if is_loaded(DEFAULT_PROFILE)? {
        return Ok(());
    }
    load(&default_profile(&own_profile()))
        .map_err(|source| Error::LoadProfile { profile: DEFAULT_PROFILE.to_owned(), source })
}

/// Whether the kernel has a profile of that name.
pub fn is_loaded(name: &str) -> Result<bool, Error> {
    let path = Path::new("/sys/kernel/security/apparmor/profiles");
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(lists(&text, name))
}

/// Lines are `name (mode)`.
fn lists(profiles: &str, name: &str) -> bool {
    profiles.lines().filter_map(|line| line.rsplit_once(" (")).any(|(listed, _)| listed == name)
}

/// The profile that this process runs under; `unconfined` for none.
fn own_profile() -> String {
    let read = |path| fs::read_to_string(path).ok();
    let text = read("/proc/thread-self/attr/apparmor/current").or_else(|| read("/proc/thread-self/attr/current"));
    let label = text.unwrap_or_default();
    match label.trim_end().rsplit_once(" (") {
        Some((name, _)) => name.to_owned(),
        None => "unconfined".to_owned(),
    }
}

/// The default profile's text: containers take signals from the engine, whatever that runs under.
fn default_profile(engine: &str) -> String {
    format!(
        "profile {DEFAULT_PROFILE} flags=(attach_disconnected,mediate_deleted) {{\n\
         {DEFAULT_RULES}\
         \x20 signal (receive) peer=\"{engine}\",\n\
         \x20 signal (send,receive) peer=\"{DEFAULT_PROFILE}\",\n\
         \x20 ptrace (trace,read,tracedby,readby) peer=\"{DEFAULT_PROFILE}\",\n\
         }}\n"
    )
}

fn load(text: &str) -> io::Result<()> {
    let mut parser = spawn_parser()?;
    if let Some(mut stdin) = parser.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = parser.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}

fn spawn_parser() -> io::Result<std::process::Child> {
    let mut missing = io::Error::from(io::ErrorKind::NotFound);
    for parser in PARSERS {
        let spawned = Command::new(parser)
            .arg("--replace")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match spawned {
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing = error,
            result => return result,
        }
    }
    Err(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn localhost() -> Profile {
        Profile::Localhost("mine".to_owned())
    }

    #[test]
    fn where_apparmor_is_off_only_a_named_profile_fails() {
        for privileged in [false, true] {
            for profile in [None, Some(Profile::RuntimeDefault), Some(Profile::Unconfined)] {
                let choice = choose(profile.as_ref(), privileged, false).expect("nothing to do");
                assert_eq!(choice, Choice::Nothing, "{profile:?}");
            }
            let error = choose(Some(&localhost()), privileged, false).map(|_| ()).expect_err("off");
            assert_eq!(crate::error::Classify::kind(&error), crate::error::Kind::FailedPrecondition);
        }
    }

    #[test]
    fn where_it_is_on_the_default_is_for_all_but_privileged_containers() {
        let runtime_default = Some(&Profile::RuntimeDefault);
        assert_eq!(choose(None, false, true).expect("default"), Choice::Default { required: false });
        assert_eq!(choose(runtime_default, false, true).expect("default"), Choice::Default { required: true });
        assert_eq!(choose(runtime_default, true, true).expect("privileged"), Choice::Nothing);
        assert_eq!(choose(None, true, true).expect("privileged"), Choice::Nothing);
        assert_eq!(choose(Some(&localhost()), true, true).expect("named"), Choice::Named("mine"));
        assert_eq!(choose(Some(&Profile::Unconfined), false, true).expect("unconfined"), Choice::Nothing);
    }

    #[test]
    fn loaded_profiles_are_found_by_their_whole_name() {
        let text = "/usr/bin/man (enforce)\nberth-default (enforce)\nmy profile (complain)\n";
        assert!(lists(text, "berth-default") && lists(text, "my profile"));
        assert!(!lists(text, "berth") && !lists(text, "man") && !lists(text, ""));
    }

    #[test]
    fn the_profile_lets_its_engine_signal_it() {
        let text = default_profile("engine");
        assert!(text.starts_with("profile berth-default ") && text.ends_with("}\n"));
        assert!(text.contains("  signal (receive) peer=\"engine\",\n"));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }

    /// Needs root, and proves something only on a host with AppArmor and its parser.
    #[test]
    fn the_default_profile_is_loaded_where_apparmor_is_on() {
        if !enabled() {
            return;
        }
        match ensure_default_profile() {
            Err(Error::LoadProfile { source, .. }) if source.kind() == io::ErrorKind::NotFound => return,
            result => result.expect("load"),
        }
        assert!(is_loaded(DEFAULT_PROFILE).expect("profiles"));
        let label = plan(Some(&Profile::RuntimeDefault), false).expect("plan").expect("a label");
        let read = std::thread::spawn(move || {
            label.apply(Path::new("/proc")).expect("apply");
            let cat = "cat /proc/self/attr/current; (echo x > /proc/sys/kernel/hostname) 2>&1 && exit 1; exit 0";
            Command::new("sh").args(["-c", cat]).output().expect("sh")
        });
        let output = read.join().expect("thread");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.starts_with("berth-default (enforce)"), "{text}");
        let missing = plan(Some(&Profile::Localhost("nobody-has-this".into())), false).expect_err("not loaded");
        assert!(matches!(missing, Error::ProfileNotLoaded(_)));
    }
}
