//! What the error stream says at the end, in the form of Kubernetes' `Status` (remotecommand v4 and later) or as plain
//! text (before).

use bytes::Bytes;
use serde_json::json;

/// How the end of a session is told to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Protocols v1 to v3: nothing on success, a sentence otherwise.
    Text,
    /// Protocols v4 and v5: a JSON object always.
    Json,
}

/// The message for an exit code or a failure; `None` when there is nothing to say.
pub(super) fn message(form: Form, end: &Result<i32, String>) -> Option<Bytes> {
    let text = match end {
        Ok(0) => String::new(),
        Ok(code) => format!("command terminated with exit code {code}"),
        Err(sentence) => sentence.clone(),
    };
    match form {
        Form::Text => (!text.is_empty()).then(|| text.into()),
        Form::Json => Some(object(end, &text).to_string().into()),
    }
}

fn object(end: &Result<i32, String>, text: &str) -> serde_json::Value {
    match end {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": text,
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(_) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "message": text, "code": 500,
            "details": {"causes": [{"message": text}]},
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_told_as_kubectl_reads_it() {
        let message = message(Form::Json, &Ok(3)).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    }

    #[test]
    fn success_is_said_in_json_and_silent_in_text() {
        assert!(message(Form::Json, &Ok(0)).unwrap().starts_with(b"{"));
        assert_eq!(message(Form::Text, &Ok(0)), None);
    }
}
