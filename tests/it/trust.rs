//! The signature policy: which images come in, and which are used.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use berth::wire::{ContainerConfig, ImageSpec, Mount, PullImageRequest};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    images::find,
    support::{Archive, Daemon, Registry, digest, pod, refusal, shell},
};

/// Somebody who signs.
struct Signer {
    directory: TempDir,
}

impl Signer {
    fn new(algorithm: &[&str]) -> Self {
        let this = Self { directory: tempfile::tempdir().expect("make a directory") };
        let (key, public) = (this.path("key"), this.public());
        openssl(&[&["genpkey", "-out", &key], algorithm].concat());
        openssl(&["pkey", "-in", &key, "-pubout", "-out", &public.display().to_string()]);
        this
    }

    /// With a key as cosign makes them.
    fn p256() -> Self {
        Self::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn public(&self) -> PathBuf {
        self.directory.path().join("key.pub")
    }

    fn sign(&self, text: &str) -> String {
        use base64::Engine as _;
        let (input, output) = (self.path("text"), self.path("signature"));
        fs::write(&input, text).expect("write the text");
        openssl(&["dgst", "-sha256", "-sign", &self.path("key"), "-out", &output, &input]);
        base64::engine::general_purpose::STANDARD.encode(fs::read(output).expect("read the signature"))
    }

    /// What a policy demands to have signatures of this one.
    fn wanted(&self) -> Value {
        json!([{ "type": "sigstoreSigned", "keyPath": self.public() }])
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("run openssl");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What a signature signs.
fn payload(name: &str, manifest: &str) -> String {
    json!({ "critical": {
        "identity": { "docker-reference": name },
        "image": { "docker-manifest-digest": manifest },
        "type": "cosign container image signature",
    }, "optional": null })
    .to_string()
}

/// Puts a signature of a digest into a repository, as cosign does: a text, and what is said to sign it.
async fn attach(registry: &Registry, repository: &str, signed: &str, text: &str, signature: &str) {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(b"{}"), "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": digest(text.as_bytes()),
            "size": text.len(),
            "annotations": { "dev.cosignproject.cosign/signature": signature },
        }],
    })
    .to_string()
    .into_bytes();
    let contents = [b"{}".to_vec(), text.as_bytes().to_vec(), manifest.clone()];
    let blobs = contents.into_iter().map(|content| (digest(&content), content)).collect();
    let archive = Archive { blobs, manifest: digest(&manifest) };
    registry.push(&archive, repository, &format!("{}.sig", signed.replace(':', "-"))).await;
}

/// Lets somebody sign what an image is called and is, and puts that beside it.
async fn sign(registry: &Registry, signer: &Signer, name: &str, manifest: &str) {
    let text = payload(name, manifest);
    let repository = name.split_once('/').expect("a registry").1.split([':', '@']).next().expect("a repository");
    attach(registry, repository, manifest, &text, &signer.sign(&text)).await;
}

/// A policy's file, which must be kept.
fn write_policy(path: &Path, scopes: &Value) {
    let policy = json!({ "default": [{ "type": "insecureAcceptAnything" }], "transports": { "docker": scopes } });
    fs::write(path, policy.to_string()).expect("write the policy");
}

async fn daemon_with(policy: &Path) -> Daemon {
    Daemon::start_with(&format!("signature_policy = {policy:?}\n")).await
}

/// An image like no other.
fn image(label: &str) -> Archive {
    Archive::busybox().with_config(&json!({ "Labels": { "label": label } }))
}

async fn pull(daemon: &Daemon, name: &str) -> Result<tonic::Response<berth::wire::PullImageResponse>, tonic::Status> {
    let image = Some(ImageSpec { image: name.to_owned(), ..Default::default() });
    daemon.image().pull_image(PullImageRequest { image, ..Default::default() }).await
}

/// A pull must fail for a reason, in words that kubelet knows, and bring nothing.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, tonic::Status>, reason: &str) {
    let (code, message) = refusal(answer);
    let is_known = code == Code::Unknown && message.starts_with("SignatureValidationFailed: ");
    assert!(is_known && message.contains(reason), "{reason}: {code:?} {message}");
}

#[tokio::test]
async fn only_what_is_signed_as_the_policy_wants_is_pulled() {
    requires!(Root, DockerRegistry, Openssl);
    let (signer, stranger, policy) = (Signer::p256(), Signer::p256(), tempfile::NamedTempFile::new().expect("a file"));
    let team = format!("{}/team", Registry::ADDRESS);
    let scopes = json!({ (team.clone()): signer.wanted(), format!("{team}/never"): [{ "type": "reject" }] });
    write_policy(policy.path(), &scopes);
    let daemon = daemon_with(policy.path()).await;
    let registry = Registry::start().await;

    let good = image("good");
    let name = registry.push(&good, "team/app", "good").await;
    sign(&registry, &signer, &name, &good.manifest).await;
    let id = pull(&daemon, &name).await.expect("pull").into_inner().image_ref;
    pull(&daemon, &format!("{team}/app@{}", good.manifest)).await.expect("pull by digest");
    let mut config = shell("c", "echo signed");
    config.image = Some(ImageSpec { image: id, user_specified_image: name, ..Default::default() });
    assert_eq!(daemon.run_to_end(&config).await.1, "signed\n");

    for (label, reason) in [
        ("unsigned", "it is not signed"),
        ("stranger", "not made with a key"),
        ("tampered", "not made with a key"),
        ("swapped", "for another image"),
        ("renamed", "was signed as"),
        ("nonsense", "not base64"),
    ] {
        let bad = image(label);
        let name = registry.push(&bad, "team/app", label).await;
        let text = match label {
            "swapped" => payload(&name, &good.manifest),
            "renamed" => payload(&format!("{team}/app:good"), &bad.manifest),
            _ => payload(&name, &bad.manifest),
        };
        let signature = match label {
            "stranger" => stranger.sign(&text),
            "tampered" => signer.sign(&payload(&name, &good.manifest)),
            "nonsense" => "nonsense!".to_owned(),
            _ => signer.sign(&text),
        };
        if label != "unsigned" {
            attach(&registry, "team/app", &bad.manifest, &text, &signature).await;
        }
        assert_refused(pull(&daemon, &name).await, reason);
        assert_eq!(find(&daemon, &bad.id()).await, None, "{label}");
    }

    let name = registry.push(&good, "team/never", "1").await;
    sign(&registry, &signer, &name, &good.manifest).await;
    assert_refused(pull(&daemon, &name).await, "rejects all images");
    let free = registry.push(&image("free"), "free", "1").await;
    pull(&daemon, &free).await.expect("nothing is demanded of it");
}

#[tokio::test]
async fn a_signature_may_be_on_the_index_or_on_the_manifest() {
    requires!(Root, DockerRegistry, Openssl);
    let (signer, policy) = (Signer::new(&["-algorithm", "RSA"]), tempfile::NamedTempFile::new().expect("a file"));
    let mut wanted = signer.wanted();
    wanted[0]["signedIdentity"] = json!({ "type": "matchRepository" });
    write_policy(policy.path(), &json!({ (Registry::ADDRESS): wanted }));
    let daemon = daemon_with(policy.path()).await;
    let registry = Registry::start().await;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    for on_index in [true, false] {
        let image = image(&format!("{on_index}"));
        let repository = format!("multi-{on_index}");
        registry.push(&image, &repository, "only").await;
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{
            "mediaType": image.manifest()["mediaType"], "digest": image.manifest,
            "size": image.blobs[&image.manifest].len(), "platform": { "os": "linux", "architecture": architecture } }] });
        let name = registry.push_index(&index, &repository, "latest").await;
        assert_refused(pull(&daemon, &name).await, "it is not signed");
        let signed = if on_index { digest(index.to_string().as_bytes()) } else { image.manifest.clone() };
        // cosign itself names the repository alone.
        sign(&registry, &signer, &format!("{}/{repository}", Registry::ADDRESS), &signed).await;
        pull(&daemon, &name).await.unwrap_or_else(|status| panic!("{on_index}: {status:?}"));
    }
}

#[tokio::test]
async fn what_is_here_already_is_judged_whenever_it_is_used() {
    requires!(Root, DockerRegistry, Openssl);
    let (signer, other) = (Signer::p256(), Signer::p256());
    let policy = tempfile::NamedTempFile::new().expect("a file");
    let strict = json!({ (Registry::ADDRESS): signer.wanted() });
    write_policy(policy.path(), &json!({}));
    let mut daemon = daemon_with(policy.path()).await;
    let registry = Registry::start().await;
    let archive = image("early");
    let name = registry.push(&archive, "app", "1").await;
    pull(&daemon, &name).await.expect("nothing is demanded yet");
    let pod_config = pod(&daemon, "user");
    let pod = daemon.run_pod(&pod_config).await;
    let called = |container: &str, name: &str| {
        let mut config = shell(container, "true");
        config.image =
            Some(ImageSpec { image: archive.id(), user_specified_image: name.to_owned(), ..Default::default() });
        config
    };
    let refused = async |config: &ContainerConfig| {
        let status = daemon.try_create(&pod, config, &pod_config).await.expect_err("it must not be used");
        let is_known = status.message().starts_with("SignatureValidationFailed: ");
        assert!(status.code() == Code::PermissionDenied && is_known, "{status:?}");
    };
    daemon.create(&pod, &called("before", &name), &pod_config).await;

    // What was pulled before somebody demanded signatures was not asked for one.
    write_policy(policy.path(), &strict);
    refused(&called("unsigned", &name)).await;
    refused(&called("by-id", "")).await;
    let mut with_volume = shell("volume", "true");
    daemon.import_busybox().await;
    with_volume.mounts.push(Mount {
        container_path: "/image".to_owned(),
        image: Some(ImageSpec { image: name.clone(), ..Default::default() }),
        readonly: true,
        ..Default::default()
    });
    refused(&with_volume).await;
    assert_refused(pull(&daemon, &name).await, "it is not signed");
    assert!(find(&daemon, &name).await.is_some(), "an image is not removed for that");
    sign(&registry, &signer, &name, &archive.manifest).await;
    pull(&daemon, &name).await.expect("it is signed now");
    daemon.create(&pod, &called("signed", &name), &pod_config).await;
    daemon.create(&pod, &with_volume, &pod_config).await;

    // An archive brings no signatures, and so has no use of a name that demands them, but of its own.
    let imported = image("imported");
    let false_name = format!("{}/app:2", Registry::ADDRESS);
    daemon.import(imported.oci_layout(&false_name), "").await.expect("import");
    let mut config = shell("imported", "true");
    config.image = Some(ImageSpec { image: false_name, ..Default::default() });
    refused(&config).await;

    // What was signed stays usable without its registry, also after a restart; but not when its key is trusted no more.
    drop(registry);
    daemon.kill();
    daemon.start_again().await;
    daemon.create(&pod, &called("again", &name), &pod_config).await;
    write_policy(policy.path(), &json!({ (Registry::ADDRESS): other.wanted() }));
    let status = daemon.try_create(&pod, &called("revoked", &name), &pod_config).await.expect_err("nobody trusts it");
    assert!(status.message().starts_with("SignatureValidationFailed: "), "{status:?}");
    daemon.remove_pod(&pod).await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_is_said_at_the_start_and_lets_nothing_in_later() {
    requires!(Root);
    let policy = tempfile::NamedTempFile::new().expect("a file");
    write_policy(policy.path(), &json!({}));
    let mut daemon = daemon_with(policy.path()).await;
    daemon.import_busybox().await;
    write_policy(policy.path(), &json!({ "a.example": [{ "type": "signedBy" }] }));
    let pod_config = pod(&daemon, "user");
    let pod = daemon.run_pod(&pod_config).await;
    let status = daemon.try_create(&pod, &shell("c", "true"), &pod_config).await.expect_err("nobody knows");
    assert!(status.code() == Code::FailedPrecondition && status.message().contains("\"signedBy\""), "{status:?}");
    daemon.remove_pod(&pod).await;
    daemon.kill();
    assert!(!daemon.try_start_again(&[]).await, "it starts");
    assert!(daemon.output().contains("\"signedBy\" are not supported"), "{}", daemon.output());
    write_policy(policy.path(), &json!({}));
    daemon.start_again().await;
}
