//! Manifests and indexes, OCI image-spec "manifest.md" and "image-index.md" and Docker's schema 2 of both.

use serde::Deserialize;

use super::{Error, registry::Descriptor};
use crate::types::Digest;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Most layers that an image may have; overlayfs takes 500 of them.
const MAX_LAYERS: usize = 500;

/// A document that an image's name leads to.
#[derive(Debug)]
pub(super) enum Document {
    /// One image, or an artifact.
    Manifest(Manifest),
    /// A choice of images for different platforms.
    Index(Vec<Choice>),
}

/// What an image or an artifact consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Its configuration; that of an artifact says nothing to us.
    pub(super) config: Descriptor,
    /// Its layers, bottom first.
    pub(super) layers: Vec<Descriptor>,
    /// What it is, if it is no image but an artifact.
    pub(super) artifact_type: Option<String>,
}

/// One image of an index.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Choice {
    /// Its manifest.
    #[serde(flatten)]
    pub(super) descriptor: Descriptor,
    /// What it runs on.
    platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

/// All fields that tell the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    artifact_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Choice>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document. `image` is its name in messages.
    pub(super) fn parse(image: &str, digest: Digest, media_type: &str, bytes: &[u8]) -> Result<Self, Error> {
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|source| Error::Document { what: "manifest", digest, source })?;
        let media_type = if raw.media_type.is_empty() { media_type } else { &raw.media_type };
        let unsupported = |reason: &str| Error::Unsupported { image: image.to_owned(), reason: reason.to_owned() };
        let unusable = |reason: &str| Error::Unusable { what: "manifest", digest, reason: reason.to_owned() };
        if raw.schema_version == 1 || raw.fs_layers.is_some() {
            return Err(unsupported(
                "its manifest is in Docker's schema 1, which went out of use in 2017; push the image again to convert it",
            ));
        }
        match raw {
            Raw { manifests: Some(_), layers: Some(_), .. } | Raw { manifests: Some(_), config: Some(_), .. } => {
                Err(unusable("it is a manifest and an index at once"))
            }
            Raw { manifests: Some(choices), .. } if matches!(media_type, OCI_INDEX | DOCKER_LIST | "") => {
                Ok(Self::Index(choices))
            }
            Raw { config: Some(config), layers: Some(layers), artifact_type, .. } => {
                if layers.len() > MAX_LAYERS {
                    return Err(unsupported(&format!("it has more than {MAX_LAYERS} layers")));
                }
                let is_image = matches!(config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG);
                let artifact_type = match artifact_type {
                    kind if !kind.is_empty() => Some(kind),
                    _ if is_image => None,
                    _ => Some(config.media_type.clone()),
                };
                Ok(Self::Manifest(Manifest { config, layers, artifact_type }))
            }
            _ => Err(unusable("it is neither a manifest nor an index")),
        }
    }
}

impl Manifest {
    /// Bytes of the configuration and of all layers, as they are stored in a registry.
    pub(super) fn size(&self) -> u64 {
        self.layers.iter().fold(self.config.size, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// Whether an image of an index may run on this host: those without a platform may.
pub(super) fn runs_here(choice: &Choice) -> bool {
    choice.platform.as_ref().is_none_or(|platform| Host::current().runs(platform))
}

/// Picks the image of an index that runs on this host.
pub(super) fn choose<'a>(image: &str, choices: &'a [Choice]) -> Result<&'a Choice, Error> {
    let host = Host::current();
    let runs_here = |choice: &&Choice| choice.platform.as_ref().is_some_and(|platform| host.runs(platform));
    // Indexes of one image may leave the platform out.
    let only = match choices {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    let best = choices.iter().filter(runs_here).max_by_key(|choice| {
        choice.platform.as_ref().map_or(0, |platform| usize::from(host.is_best_variant(platform)))
    });
    only.or(best).ok_or_else(|| Error::Unsupported {
        image: image.to_owned(),
        reason: format!("it does not exist for linux/{}", host.architecture),
    })
}

/// The platform that images must be for.
struct Host {
    architecture: &'static str,
    /// Variants that run here, the best last; the empty one always does.
    variants: &'static [&'static str],
}

impl Host {
    fn current() -> Self {
        match std::env::consts::ARCH {
            "x86_64" => Self { architecture: "amd64", variants: &["", "v1"] },
            "aarch64" => Self { architecture: "arm64", variants: &["", "v8"] },
            other => Self { architecture: other, variants: &[""] },
        }
    }

    fn runs(&self, platform: &Platform) -> bool {
        platform.os == "linux"
            && platform.architecture == self.architecture
            && self.variants.contains(&platform.variant.as_str())
    }

    fn is_best_variant(&self, platform: &Platform) -> bool {
        self.variants.last() == Some(&platform.variant.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &serde_json::Value) -> Result<Document, Error> {
        let bytes = json.to_string();
        Document::parse("example.com/a:1", Digest::of(bytes.as_bytes()), "", bytes.as_bytes())
    }

    fn descriptor(media_type: &str) -> serde_json::Value {
        serde_json::json!({"mediaType": media_type, "digest": Digest::of(b"x").to_string(), "size": 10})
    }

    fn choice(os: &str, architecture: &str, variant: &str) -> serde_json::Value {
        let mut choice = descriptor("application/vnd.oci.image.manifest.v1+json");
        choice["digest"] = Digest::of(format!("{os}/{architecture}/{variant}").as_bytes()).to_string().into();
        choice["platform"] = serde_json::json!({"os": os, "architecture": architecture, "variant": variant});
        choice
    }

    fn chosen(choices: &[serde_json::Value]) -> Result<Digest, String> {
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": choices});
        let Ok(Document::Index(choices)) = parse(&index) else { panic!("not an index") };
        choose("example.com/a:1", &choices).map(|choice| choice.descriptor.digest).map_err(|error| error.to_string())
    }

    #[test]
    fn both_families_of_manifests_are_read() {
        for config in [OCI_CONFIG, DOCKER_CONFIG] {
            let manifest = serde_json::json!({
                "schemaVersion": 2, "config": descriptor(config), "layers": [descriptor("layer"), descriptor("layer")],
                "unknown": {"field": 1}});
            let Ok(Document::Manifest(manifest)) = parse(&manifest) else { panic!("not a manifest") };
            assert_eq!(manifest.size(), 30);
        }
    }

    #[test]
    fn an_artifact_says_what_it_is() {
        for (artifact_type, config, expected) in [
            ("application/vnd.example.sbom", "application/vnd.oci.empty.v1+json", Some("application/vnd.example.sbom")),
            ("application/vnd.example.sbom", OCI_CONFIG, Some("application/vnd.example.sbom")),
            ("", "application/vnd.cncf.helm.config.v1+json", Some("application/vnd.cncf.helm.config.v1+json")),
            ("", OCI_CONFIG, None),
        ] {
            let manifest = serde_json::json!({
                "schemaVersion": 2, "artifactType": artifact_type, "config": descriptor(config), "layers": []});
            let Ok(Document::Manifest(manifest)) = parse(&manifest) else { panic!("not a manifest") };
            assert_eq!(manifest.artifact_type.as_deref(), expected);
        }
    }

    #[test]
    fn what_is_no_image_is_refused_in_words() {
        let schema1 = serde_json::json!({"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": "sha256:x"}]});
        assert!(parse(&schema1).is_err_and(|error| error.to_string().contains("schema 1")));
        let both = serde_json::json!({
            "schemaVersion": 2, "config": descriptor(OCI_CONFIG), "layers": [], "manifests": []});
        assert!(parse(&both).is_err());
        for bad in [serde_json::json!({}), serde_json::json!([]), serde_json::json!({"schemaVersion": 2, "layers": []})]
        {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_image_for_this_host_is_chosen() {
        let host = Host::current();
        let (arch, best) = (host.architecture, *host.variants.last().expect("a variant"));
        let good = choice("linux", arch, "");
        let attestation = choice("unknown", "unknown", "");
        let others =
            [choice("linux", "riscv64", ""), choice("windows", arch, ""), choice("linux", arch, "v99"), attestation];
        let digest = |choice: &serde_json::Value| choice["digest"].as_str().expect("a digest").parse().expect("parses");
        assert_eq!(chosen(&[&others[..], std::slice::from_ref(&good)].concat()), Ok(digest(&good)));
        let better = choice("linux", arch, best);
        assert_eq!(chosen(&[better.clone(), good.clone()]), Ok(digest(&better)));
        assert!(chosen(&others).is_err_and(|error| error.contains(&format!("linux/{arch}"))));
        let mut nameless = choice("", "", "");
        nameless.as_object_mut().expect("an object").remove("platform");
        assert_eq!(chosen(&[nameless.clone()]), Ok(digest(&nameless)));
    }
}
