//! The one place where a failure becomes a gRPC status.

use tonic::{Code, Status};

use super::convert::Invalid;
use crate::{
    engine,
    error::{Classify, Kind, chain},
    image, network, streaming,
};

/// The gRPC code of a kind of failure.
fn code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::DeadlineExceeded => Code::DeadlineExceeded,
        Kind::Cancelled => Code::Cancelled,
        Kind::Unavailable => Code::Unavailable,
        Kind::DataLoss => Code::DataLoss,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Internal => Code::Internal,
    }
}

fn status(error: &impl Classify) -> Status {
    Status::new(code(error.kind()), chain(error))
}

impl From<Invalid> for Status {
    fn from(error: Invalid) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

impl From<engine::Error> for Status {
    fn from(error: engine::Error) -> Self {
        status(&error)
    }
}

impl From<image::Error> for Status {
    fn from(error: image::Error) -> Self {
        status(&error)
    }
}

impl From<network::Error> for Status {
    fn from(error: network::Error) -> Self {
        status(&error)
    }
}

impl From<streaming::Error> for Status {
    fn from(error: streaming::Error) -> Self {
        status(&error)
    }
}

/// What kubelet knows a registry by that cannot be reached, and an image that must not be used: how the text begins.
const REGISTRY_UNAVAILABLE: &str = "RegistryUnavailable";
const SIGNATURE_VALIDATION_FAILED: &str = "SignatureValidationFailed";

/// The status of a failed pull. kubelet looks for its words only in what has the code `Unknown`.
pub(super) fn pull_failed(error: &image::Error) -> Status {
    match error.kind() {
        _ if error.is_untrusted() => Status::unknown(format!("{SIGNATURE_VALIDATION_FAILED}: {}", chain(error))),
        Kind::Unavailable => Status::unknown(format!("{REGISTRY_UNAVAILABLE}: {}", chain(error))),
        _ => status(error),
    }
}

/// The status of a failed creation. kubelet knows an image that must not be used, and an image volume that cannot be
/// mounted, by the first word of the text.
pub(super) fn creation_failed(error: &engine::Error) -> Status {
    match error {
        engine::Error::Image { source, .. } if source.is_untrusted() => {
            Status::new(code(error.kind()), format!("{SIGNATURE_VALIDATION_FAILED}: {}", chain(error)))
        }
        engine::Error::NoSubPath { .. } | engine::Error::ImageVolume { .. } => {
            Status::new(code(error.kind()), format!("ImageVolumeMountFailed: {}", chain(error)))
        }
        _ => status(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_code() {
        let kinds = [
            Kind::InvalidArgument,
            Kind::NotFound,
            Kind::AlreadyExists,
            Kind::FailedPrecondition,
            Kind::Unauthenticated,
            Kind::PermissionDenied,
            Kind::ResourceExhausted,
            Kind::DeadlineExceeded,
            Kind::Cancelled,
            Kind::Unavailable,
            Kind::DataLoss,
            Kind::Unimplemented,
            Kind::Internal,
        ];
        for kind in kinds {
            assert_eq!(format!("{:?}", code(kind)), format!("{kind:?}"));
        }
    }

    #[test]
    fn kubelet_is_told_in_its_own_words_why_a_pull_failed() {
        let untrusted =
            || image::Untrusted { image: "a.example/b:1".to_owned(), reason: "it is not signed".to_owned() };
        let joined = image::Error::Joined(std::sync::Arc::new(untrusted().into()));
        for error in [untrusted().into(), joined] {
            let status = pull_failed(&error);
            let expected = "SignatureValidationFailed: a.example/b:1: it is not signed";
            assert_eq!((status.code(), status.message()), (Code::Unknown, expected));
        }
        let missing = pull_failed(&image::Error::NotFound("x".to_owned()));
        assert_eq!(missing.code(), Code::NotFound);
    }
}
