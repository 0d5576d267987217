//! Images, references to them and credentials.

use super::check::{self, Invalid, required, word};
use crate::{
    berth_wire,
    berth_wire::RegistryAuth,
    image::{Auth, Image, SourceAuth},
    types::ImageSpec,
    wire,
};

/// A reference to an image, which must name one.
pub(crate) fn spec_from_wire(spec: wire::ImageSpec) -> Result<ImageSpec, Invalid> {
    Ok(ImageSpec {
        image: check::name("image", spec.image)?,
        annotations: check::map("annotations", spec.annotations)?,
        user_specified_image: word("user_specified_image", spec.user_specified_image)?,
        runtime_handler: word("runtime_handler", spec.runtime_handler)?,
        image_ref: word("image_ref", spec.image_ref)?,
    })
}

/// A reference to an image, verbatim.
pub(crate) fn spec_to_wire(spec: &ImageSpec) -> wire::ImageSpec {
    wire::ImageSpec {
        image: spec.image.clone(),
        annotations: spec.annotations.clone(),
        user_specified_image: spec.user_specified_image.clone(),
        runtime_handler: spec.runtime_handler.clone(),
        image_ref: spec.image_ref.clone(),
    }
}

/// The name in a request that must name an image.
pub(crate) fn name_from_wire(spec: Option<wire::ImageSpec>) -> Result<String, Invalid> {
    let spec = spec_from_wire(required("image", spec)?).map_err(|e| e.within("image"))?;
    Ok(spec.image)
}

/// The name in a filter that may be empty.
pub(crate) fn filter_from_wire(filter: Option<wire::ImageFilter>) -> Option<String> {
    filter?.image.map(|spec| spec.image).filter(|name| !name.is_empty())
}

/// Credentials; `None` when all that is given is empty.
pub(crate) fn auth_from_wire(auth: Option<wire::AuthConfig>) -> Option<Auth> {
    let auth = auth?;
    let auth = Auth {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        server_address: auth.server_address,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    };
    (auth != Auth::default()).then_some(auth)
}

/// Credentials in a request of the engine's own service; `None` when all that is given is empty.
pub(crate) fn registry_auth_from_wire(auth: Option<RegistryAuth>) -> Option<Auth> {
    let auth = auth?;
    let auth = Auth {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
        ..Auth::default()
    };
    (auth != Auth::default()).then_some(auth)
}

/// Credentials for where images came from.
pub(crate) fn source_auths_from_wire(sources: Vec<berth_wire::SourceAuth>) -> Vec<SourceAuth> {
    let source = |given: berth_wire::SourceAuth| {
        Some(SourceAuth { scope: given.scope, auth: registry_auth_from_wire(given.auth)? })
    };
    sources.into_iter().filter_map(source).collect()
}

/// An image of this host.
pub(crate) fn to_wire(image: &Image) -> wire::Image {
    let (uid, username) = user(&image.config.user);
    let id = image.id.to_string();
    wire::Image {
        id: id.clone(),
        repo_tags: image.tags.clone(),
        repo_digests: image.digests.clone(),
        // kubelet takes a size of 0 for a broken answer.
        size: image.size.max(1),
        uid,
        username,
        spec: Some(wire::ImageSpec { image: id, ..Default::default() }),
        pinned: image.pinned,
    }
}

/// The user that an image wants: an id or a name, never both; no word of it means root.
fn user(user: &str) -> (Option<wire::Int64Value>, String) {
    let user = user.split(':').next().unwrap_or_default();
    match user {
        "" => (Some(wire::Int64Value { value: 0 }), String::new()),
        _ => match user.parse() {
            Ok(value) => (Some(wire::Int64Value { value }), String::new()),
            Err(_) => (None, user.to_owned()),
        },
    }
}

/// What a verbose status adds for people who debug.
pub(crate) fn details(image: &Image) -> serde_json::Value {
    let config = &image.config;
    serde_json::json!({
        "manifest": image.manifest,
        "artifactType": image.artifact_type,
        "layers": image.layers,
        "imageSpec": {
            "created": image.created.map(|at| at.to_string()),
            "architecture": config.architecture,
            "os": config.os,
            "config": {
                "User": config.user,
                "Env": config.env,
                "Entrypoint": config.entrypoint,
                "Cmd": config.cmd,
                "WorkingDir": config.working_dir,
                "StopSignal": config.stop_signal,
                "Volumes": config.volumes,
                "ExposedPorts": config.exposed_ports,
                "Labels": config.labels,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::ImageConfig, types::Digest};

    #[test]
    fn an_image_has_one_kind_of_user() {
        let id = |value| (Some(wire::Int64Value { value }), String::new());
        assert_eq!(user(""), id(0));
        assert_eq!(user("1002"), id(1002));
        assert_eq!(user("1002:22"), id(1002));
        assert_eq!(user("www-data"), (None, "www-data".to_owned()));
        assert_eq!(user("www-data:33"), (None, "www-data".to_owned()));
    }

    #[test]
    fn what_kubelet_demands_of_an_image_is_there() {
        let digest = Digest::of(b"config");
        let image = Image {
            id: digest,
            artifact_type: None,
            manifest: Digest::of(b"manifest"),
            tags: Vec::new(),
            digests: vec!["r/i@sha256:x".to_owned()],
            size: 0,
            config: ImageConfig::default(),
            layers: Vec::new(),
            created: None,
            pinned: true,
        };
        let wire = to_wire(&image);
        assert_eq!((wire.id, wire.repo_digests, wire.pinned), (digest.to_string(), image.digests.clone(), true));
        assert_ne!(wire.size, 0);
        assert_eq!(details(&image)["imageSpec"]["config"]["User"], "");
    }

    #[test]
    fn empty_credentials_are_none_and_others_are_never_shown() {
        assert_eq!(auth_from_wire(None), None);
        assert_eq!(auth_from_wire(Some(wire::AuthConfig::default())), None);
        let auth = wire::AuthConfig { password: "hunter2".to_owned(), ..Default::default() };
        let request = wire::PullImageRequest { auth: Some(auth.clone()), ..Default::default() };
        assert!(!format!("{request:?}").contains("hunter2"));
        let auth = auth_from_wire(Some(auth)).expect("something");
        assert_eq!(auth.password, "hunter2");
        assert!(!format!("{auth:?}").contains("hunter2"));
    }

    #[test]
    fn a_request_without_a_name_is_refused() {
        for spec in [None, Some(wire::ImageSpec::default())] {
            name_from_wire(spec).expect_err("no name");
        }
        assert_eq!(filter_from_wire(Some(wire::ImageFilter::default())), None);
    }
}
