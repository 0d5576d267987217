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

/// The status of a failed pull. kubelet knows a registry that cannot be reached by the first word of the text.
pub(super) fn pull_failed(error: &image::Error) -> Status {
    match error.kind() {
        Kind::Unavailable => Status::unavailable(format!("RegistryUnavailable: {}", chain(error))),
        _ => status(error),
    }
}

/// The status of a failed creation. kubelet knows an image volume that cannot be mounted by the first word of the text.
pub(super) fn creation_failed(error: &engine::Error) -> Status {
    match error {
        engine::Error::NoSubPath { .. } => {
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
}
