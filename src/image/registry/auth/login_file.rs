//! A person's own credentials, as `docker login` and its like keep them: docker's `config.json`.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    Auth, Credential,
    credential_files::{CredentialFiles, File, helper_for, names_registry, program, read, run_helper, server_key},
};

/// A file with credentials. Other tools have things of their own in it, which stay as they are.
#[derive(Debug, Clone)]
pub struct LoginFile {
    path: PathBuf,
}

/// A file with credentials that could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LoginFileError {
    /// It cannot be read or written.
    #[error("{operation} {}", path.display())]
    File {
        /// What was done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It is not JSON of docker's form. What the reader stumbled over is not told: it may be a secret.
    #[error("{} is not a configuration of docker's form", .0.display())]
    Malformed(PathBuf),
    /// The credential helper that the file names did not do it.
    #[error("the credential helper {0:?} that the file names has failed")]
    Helper(String),
}

impl LoginFile {
    /// The file at a path; it need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credentials for a repository of a registry, if there are any.
    pub async fn find(&self, registry: &str, repository: &str) -> Option<Auth> {
        let file = read(&self.path).await?;
        let files = CredentialFiles::new(vec![self.path.clone()]);
        let credential = files.find_in(&file, &self.path, registry, repository).await?;
        Some(match credential {
            Credential::Anonymous => return None,
            Credential::Password { username, password } => Auth { username, password, ..Auth::default() },
            Credential::IdentityToken(identity_token) => Auth { identity_token, ..Auth::default() },
            Credential::RegistryToken(registry_token) => Auth { registry_token, ..Auth::default() },
        })
    }

    /// Keeps a name and password for a registry: by the credential helper that the file names for it, else in the file
    /// itself, which only its owner can read.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the helper fails.
    pub async fn store(&self, registry: &str, username: &str, password: &str) -> Result<(), LoginFileError> {
        let mut config = self.load()?;
        let key = server_key(registry);
        if let Some(helper) = self.helper(&config, registry)? {
            let entry = json!({ "ServerURL": key, "Username": username, "Secret": password }).to_string();
            return match run_helper(&helper, "store", &entry).await {
                Some(_) => Ok(()),
                None => Err(LoginFileError::Helper(helper.display().to_string())),
            };
        }
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let auths = auths.as_object_mut().ok_or_else(|| LoginFileError::Malformed(self.path.clone()))?;
        auths.insert(key.to_owned(), json!({ "auth": STANDARD.encode(format!("{username}:{password}")) }));
        self.save(&config)
    }

    /// Forgets the credentials for a registry; tells whether there were any.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn erase(&self, registry: &str) -> Result<bool, LoginFileError> {
        let mut config = self.load()?;
        let key = server_key(registry);
        if let Some(helper) = self.helper(&config, registry)? {
            return Ok(run_helper(&helper, "erase", key).await.is_some());
        }
        let auths = config.get_mut("auths").and_then(Value::as_object_mut);
        let removed = auths.is_some_and(|auths| {
            let before = auths.len();
            auths.retain(|name, _| name != key && !names_registry(name, registry));
            auths.len() < before
        });
        if removed {
            self.save(&config)?;
        }
        Ok(removed)
    }

    /// The helper that keeps a registry's credentials.
    fn helper(&self, config: &Map<String, Value>, registry: &str) -> Result<Option<PathBuf>, LoginFileError> {
        let file: File = serde_json::from_value(Value::Object(config.clone()))
            .map_err(|_| LoginFileError::Malformed(self.path.clone()))?;
        let Some(name) = helper_for(&file, registry) else { return Ok(None) };
        program(name).map(Some).ok_or_else(|| LoginFileError::Helper(name.to_owned()))
    }

    fn load(&self) -> Result<Map<String, Value>, LoginFileError> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|_| LoginFileError::Malformed(self.path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            Err(source) => Err(self.failed("read", source)),
        }
    }

    /// Replaces the file whole, so that nobody sees half of it; a link to it stays a link.
    fn save(&self, config: &Map<String, Value>) -> Result<(), LoginFileError> {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let write = || {
            let directory = path.parent().unwrap_or(Path::new("."));
            if !directory.as_os_str().is_empty() && !directory.exists() {
                fs::create_dir_all(directory)?;
                fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
            }
            let unfinished = path.with_extension(format!("tmp-{}", std::process::id()));
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            let written = serde_json::to_writer_pretty(&mut file, config)
                .map_err(io::Error::from)
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&unfinished, &path));
            if written.is_err() {
                let _ = fs::remove_file(&unfinished);
            }
            written
        };
        write().map_err(|source| self.failed("write", source))
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> LoginFileError {
        LoginFileError::File { operation, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_kept_beside_what_others_have_there() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("new/config.json");
        let file = LoginFile::new(path.clone());
        assert_eq!(file.find("a.example", "b").await, None);
        file.store("a.example", "u", "p:w").await.expect("stores");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        let found = file.find("a.example", "b").await.expect("is there");
        assert_eq!((found.username.as_str(), found.password.as_str()), ("u", "p:w"));

        fs::write(&path, r#"{"psFormat":"x","auths":{"b.example":{"auth":"dTpw"}}}"#).expect("writes");
        file.store("docker.io", "hub", "p").await.expect("stores");
        let text = fs::read_to_string(&path).expect("reads");
        assert!(text.contains("https://index.docker.io/v1/") && text.contains("psFormat"), "{text}");
        assert_eq!(file.find("docker.io", "library/b").await.expect("is there").username, "hub");
        assert!(file.erase("docker.io").await.expect("erases"));
        assert!(!file.erase("docker.io").await.expect("erases"), "there is nothing left to erase");
        assert_eq!(file.find("b.example", "c").await.expect("is there").username, "u");
    }

    #[tokio::test]
    async fn a_file_of_another_form_stays_as_it_is() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("config.json");
        for text in ["secret", "[]", r#"{"auths":[]}"#] {
            fs::write(&path, text).expect("writes");
            let error = LoginFile::new(path.clone()).store("a.example", "u", "p").await.expect_err("is malformed");
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("reads"), text);
        }
    }
}
