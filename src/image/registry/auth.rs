//! Credentials.

/// Credentials for one pull, as the caller gives them; all fields may be empty.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Auth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Base64 of `user:password`, possibly with a NUL or a newline at the end.
    pub auth: String,
    /// Host that they are for; empty for the host in the image's name.
    pub server_address: String,
    /// Refresh token that the token server gives a bearer token for.
    pub identity_token: String,
    /// Bearer token to be sent to the registry as it is.
    pub registry_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}
