//! `berth image pull`

use std::{
    io::{self, Read as _},
    process::ExitCode,
};

use clap::Args;

use crate::{
    cli::{Session, error::Error, json, print_line},
    wire::AuthConfig,
};

/// Get an image from a registry and print its id.
#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    /// User name at the registry
    #[arg(short, long, value_name = "NAME", requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// The image
    image: String,
}

impl Pull {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let auth = match self.username {
            Some(username) => Some(AuthConfig { username, password: read_password()?, ..Default::default() }),
            None => None,
        };
        let id = super::pull(&mut session.engine, &self.image, auth).await?;
        if session.json {
            json::print(&serde_json::json!({ "id": id }))?;
        } else {
            print_line(&id)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All of standard input but the newline at its end.
fn read_password() -> Result<String, Error> {
    let mut password = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut password)
        .map_err(|source| Error::Read { path: "standard input".into(), source })?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
