//! The credentials of the person who types, for registries.

use std::{
    env,
    io::{self, Read as _},
    path::PathBuf,
};

use clap::Args;

use super::error::Error;
use crate::{
    berth_wire::{RegistryAuth, SourceAuth},
    image::{Auth, LoginFile},
    types::Reference,
};

/// Where credentials are kept.
#[derive(Debug, Args)]
pub(super) struct AuthFile {
    /// File with credentials, in the form of docker's config.json [default: that of docker, then that of podman]
    #[arg(long, env = "REGISTRY_AUTH_FILE", value_name = "FILE")]
    authfile: Option<PathBuf>,
}

/// Who somebody is to a registry.
#[derive(Debug, Args)]
pub(super) struct Identity {
    /// User name at the registry, instead of stored credentials
    #[arg(short, long, value_name = "NAME", requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    file: AuthFile,
}

impl AuthFile {
    /// The file that a login goes to.
    pub(super) fn of_login(&self) -> LoginFile {
        LoginFile::new(self.authfile.clone().unwrap_or_else(docker_config))
    }

    /// The file that the environment names, for verbs that have no option for it.
    pub(super) fn from_environment() -> Self {
        Self { authfile: env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from) }
    }

    /// The stored credentials for the registry of an image, if there are any.
    pub(super) async fn find(&self, image: &str) -> Option<RegistryAuth> {
        // What is no name of an image is refused by the engine, with a reason.
        let image: Reference = image.parse().ok()?;
        let paths = match &self.authfile {
            Some(path) => vec![path.clone()],
            None => [Some(docker_config()), podman_auth()].into_iter().flatten().collect(),
        };
        for path in paths {
            let found = LoginFile::new(path).find(image.domain(), image.repository()).await;
            if let Some(auth) = found {
                return Some(to_wire(auth));
            }
        }
        None
    }

    /// The stored credentials for the repositories that an image came from, by its names with digests.
    pub(super) async fn of_sources(&self, digests: &[String]) -> Vec<SourceAuth> {
        let mut found = Vec::new();
        for name in digests {
            if let (Ok(source), Some(auth)) = (name.parse::<Reference>(), self.find(name).await) {
                found.push(SourceAuth { scope: source.name(), auth: Some(auth) });
            }
        }
        found
    }
}

impl Identity {
    /// The file with stored credentials.
    pub(super) fn file(&self) -> &AuthFile {
        &self.file
    }

    /// The credentials to be shown to the registry of an image.
    pub(super) async fn for_image(&self, image: &str) -> Result<Option<RegistryAuth>, Error> {
        Ok(match &self.username {
            Some(username) => {
                Some(RegistryAuth { username: username.clone(), password: read_password()?, ..Default::default() })
            }
            None => self.file.find(image).await,
        })
    }
}

fn to_wire(auth: Auth) -> RegistryAuth {
    RegistryAuth {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    }
}

/// docker's configuration, config.json(5) of docker.
fn docker_config() -> PathBuf {
    let directory = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    directory.unwrap_or_else(|| home().join(".docker")).join("config.json")
}

/// podman's file of credentials, containers-auth.json(5).
fn podman_auth() -> Option<PathBuf> {
    Some(PathBuf::from(env::var_os("XDG_RUNTIME_DIR")?).join("containers/auth.json"))
}

/// All of standard input but the newline at its end.
pub(super) fn read_password() -> Result<String, Error> {
    let mut password = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut password)
        .map_err(|source| Error::Read { path: "standard input".into(), source })?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
