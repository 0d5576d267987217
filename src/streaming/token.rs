use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Error, Ticket};

/// How long a token waits for its client.
const LIFETIME: Duration = Duration::from_secs(60);
/// How many tokens may wait.
const MOST: usize = 1000;
/// Random bytes of a token: 128 bits cannot be guessed.
const BYTES: usize = 16;

/// Tickets that wait for their client, each under a token that works once.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (Instant, Ticket)>>);

impl Tokens {
    /// Keeps a ticket and returns its token.
    pub(super) fn issue(&self, ticket: Ticket) -> Result<String, Error> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST {
            waiting.retain(|_, (issued, _)| issued.elapsed() < LIFETIME);
        }
        if waiting.len() >= MOST {
            return Err(Error::TooMany(MOST));
        }
        waiting.insert(token.clone(), (Instant::now(), ticket));
        Ok(token)
    }

    /// Gives the ticket of a token out, once and only while it is young.
    pub(super) fn redeem(&self, token: &str) -> Option<Ticket> {
        let (issued, ticket) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(token)?;
        (issued.elapsed() < LIFETIME).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket::PortForward { pod: "p".into(), ports: vec![] }
    }

    #[test]
    fn a_token_works_once() {
        let tokens = Tokens::default();
        let token = tokens.issue(ticket()).unwrap();
        assert_eq!(tokens.redeem("AAAAAAAAAAAAAAAAAAAAAA"), None);
        assert_eq!(tokens.redeem(&token), Some(ticket()));
        assert_eq!(tokens.redeem(&token), None);
    }

    #[test]
    fn an_old_token_does_not_work_and_makes_room() {
        let tokens = Tokens::default();
        let Some(long_ago) = Instant::now().checked_sub(LIFETIME) else { return };
        for n in 0..=MOST {
            tokens.0.lock().unwrap().insert(n.to_string(), (long_ago, ticket()));
        }
        assert_eq!(tokens.redeem("5"), None);
        assert!(tokens.issue(ticket()).is_ok());
        assert_eq!(tokens.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn no_more_than_so_many_wait() {
        let tokens = Tokens::default();
        for _ in 0..MOST {
            tokens.issue(ticket()).unwrap();
        }
        assert!(matches!(tokens.issue(ticket()), Err(Error::TooMany(MOST))));
    }
}
