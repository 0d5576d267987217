use std::{fmt::Write as _, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use super::{Demands, Policy, Signature, Untrusted};
use crate::{
    error::chain,
    types::{Digest, Reference},
};

/// What stands before a P-256 key in its DER form, RFC 5480.
const P256_HEADER: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// What stands before an Ed25519 key, RFC 8410.
const ED25519_HEADER: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// Somebody with a key.
enum Signer {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn p256() -> Self {
        let (random, scheme) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(scheme, &random).expect("makes a key");
        Self::P256(EcdsaKeyPair::from_pkcs8(scheme, key.as_ref(), &random).expect("is a key"))
    }

    fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("makes a key");
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("is a key"))
    }

    /// The public key, as a policy holds it.
    fn key_data(&self) -> String {
        let der = match self {
            Self::P256(key) => [P256_HEADER, key.public_key().as_ref()].concat(),
            Self::Ed25519(key) => [ED25519_HEADER, key.public_key().as_ref()].concat(),
        };
        STANDARD.encode(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)))
    }

    fn sign(&self, payload: &Value) -> Signature {
        let payload = payload.to_string();
        let signature = match self {
            Self::P256(key) => {
                let signature = key.sign(&SystemRandom::new(), payload.as_bytes()).expect("signs");
                STANDARD.encode(signature)
            }
            Self::Ed25519(key) => STANDARD.encode(key.sign(payload.as_bytes())),
        };
        Signature { payload, signature }
    }

    /// A demand for signatures of this one.
    fn wanted(&self) -> Value {
        json!({ "type": "sigstoreSigned", "keyData": self.key_data() })
    }
}

fn image() -> Digest {
    Digest::of(b"a manifest")
}

fn payload(name: &str, digest: Digest) -> Value {
    json!({ "optional": { "creator": "somebody" }, "critical": {
        "type": "cosign container image signature",
        "identity": { "docker-reference": name },
        "image": { "docker-manifest-digest": digest } } })
}

fn read(policy: &str) -> Result<Policy, String> {
    let file = tempfile::NamedTempFile::new().expect("makes a file");
    fs::write(file.path(), policy).expect("writes");
    Policy::read(file.path()).map_err(|error| chain(&error))
}

fn demands(default: &Value, name: &str) -> Demands {
    let policy = read(&json!({ "default": default }).to_string()).expect("is a policy");
    policy.demands(&name.parse().expect("a name"))
}

fn judge(demands: &Demands, signatures: &[Signature]) -> Result<usize, String> {
    let counted = demands.judge(&[Digest::of(b"an index"), image()], signatures);
    counted.map(|counted| counted.len()).map_err(|Untrusted { reason, .. }| reason)
}

#[test]
fn the_narrowest_scope_that_a_name_is_in_decides() {
    let digest = image();
    let mut text = String::new();
    for (scope, kind) in [
        ("a.example", "reject"),
        ("a.example/team", "insecureAcceptAnything"),
        ("a.example/team/app", "reject"),
        ("a.example/team/app:good", "insecureAcceptAnything"),
        (&format!("a.example/team/app@{digest}"), "insecureAcceptAnything"),
        ("*.example", "insecureAcceptAnything"),
        ("*.b.example", "reject"),
        ("a.example:5000/x", "insecureAcceptAnything"),
        ("docker.io/library", "insecureAcceptAnything"),
    ] {
        let _ = write!(text, r#""{scope}": [{{"type": "{kind}"}}], "#);
    }
    let text = text.trim_end_matches(", ");
    let policy = read(&format!(
        r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker-daemon": {{"": [{{"type": "reject"}}]}}, "docker": {{{text}}}}}}}"#
    ))
    .expect("is a policy");
    for (name, accepted) in [
        ("a.example/other:1", false),
        ("a.example/team/other:1", true),
        ("a.example/teams/other:1", false),
        ("a.example/team/app:1", false),
        ("a.example/team/app:good", true),
        ("a.example/team/app/part:good", false),
        (&format!("a.example/team/app:1@{digest}"), true),
        ("c.example/x", true),
        ("c.b.example/x", false),
        ("b.example/x", true),
        ("a.example:5000/x/y", true),
        ("a.example:5000/y", false),
        ("busybox", true),
        ("user/busybox", false),
        ("localhost/x", false),
    ] {
        let reference: Reference = name.parse().expect("a name");
        let verdict = policy.demands(&reference).rule_out();
        assert_eq!(verdict.is_ok(), accepted, "{name}: {verdict:?}");
    }
    assert!(!policy.accepts_nameless());
}

#[test]
fn what_is_not_supported_is_refused_and_not_left_out() {
    let key = Signer::p256().key_data();
    let signed = |more: Value| {
        let mut requirement = json!({ "type": "sigstoreSigned", "keyData": key });
        requirement.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        requirement
    };
    for (requirement, reason) in [
        (json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k" }), "\"signedBy\" are not supported"),
        (json!({ "type": "Reject" }), "\"Reject\" are not supported"),
        (json!({ "type": "reject", "keyPath": "/k" }), "has no other fields"),
        (json!({ "type": "reject", "unless": 1 }), "\"unless\" is not supported"),
        (json!({ "type": "sigstoreSigned" }), "one of keyPath"),
        (signed(json!({ "keyPath": "/k" })), "one of keyPath"),
        (signed(json!({ "rekorPublicKeyPath": "/k" })), "\"rekorPublicKeyPath\" is not supported"),
        (json!({ "type": "sigstoreSigned", "fulcio": {} }), "\"fulcio\" is not supported"),
        (json!({ "type": "sigstoreSigned", "keyPath": "k.pub" }), "not absolute"),
        (json!({ "type": "sigstoreSigned", "keyPath": "/no/such/key" }), "/no/such/key: No such file"),
        (json!({ "type": "sigstoreSigned", "keyDatas": [] }), "there is no key"),
        (json!({ "type": "sigstoreSigned", "keyData": "?" }), "not base64"),
        (json!({ "type": "sigstoreSigned", "keyData": "eA==" }), "exactly one public key"),
        (
            signed(json!({ "signedIdentity": { "type": "remapIdentity", "prefix": "a", "signedPrefix": "b" } })),
            "\"prefix\"",
        ),
        (signed(json!({ "signedIdentity": { "type": "exactRepository" } })), "with these fields"),
        (signed(json!({ "signedIdentity": { "type": "exactRepository", "dockerRepository": "a/b:1" } })), "malformed"),
        (signed(json!({ "signedIdentity": { "type": "exactReference", "dockerReference": "a/b" } })), "malformed"),
    ] {
        let error = read(&json!({ "default": [requirement] }).to_string()).expect_err("is not supported");
        assert!(error.contains(reason), "{requirement}: {error}");
    }
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    for (text, reason) in [
        ("{}".to_owned(), "missing field"),
        (r#"{"default": []}"#.to_owned(), "demands nothing"),
        (format!(r#"{{"default": {accept}, "more": 1}}"#), "unknown field"),
        (format!(r#"{{"default": {accept}, "transports": {{"oci-archive": {{"": {accept}}}}}}}"#), "by their names"),
        (format!(r#"{{"default": {accept}, "transports": {{"docker": {{"a": {accept}, "a": {accept}}}}}}}"#), "twice"),
        (format!(r#"{{"default": {accept}, "transports": {{"docker": {{}}, "docker": {{}}}}}}"#), "twice"),
        (
            format!(r#"{{"default": {accept}, "transports": {{"docker": {{"https://a": {accept}}}}}}}"#),
            "without scheme",
        ),
        (format!(r#"{{"default": {accept}, "transports": {{"docker": {{"a.*": {accept}}}}}}}"#), "at the beginning"),
    ] {
        let error = read(&text).expect_err("is refused");
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn only_a_signature_that_is_as_it_should_be_counts() {
    for signer in [Signer::p256(), Signer::ed25519()] {
        let demands = demands(&json!([signer.wanted()]), "a.example/app:1");
        let good = payload("a.example/app:1", image());
        let signed = signer.sign(&good);
        let stranger = Signer::p256().sign(&good);
        assert_eq!(judge(&demands, &[stranger.clone(), signed.clone()]), Ok(1), "one of them is good");

        let tampered = Signature { payload: signed.payload.replace("somebody", "nobody"), ..signed.clone() };
        let swapped = Signature { payload: payload("a.example/app:1", Digest::of(b"x")).to_string(), ..signed.clone() };
        let mangled = Signature { signature: "?".to_owned(), ..signed };
        let with = |pointer: &str, value: Value| {
            let mut payload = good.clone();
            *payload.pointer_mut(pointer).expect("is there") = value;
            signer.sign(&payload)
        };
        for (signature, reason) in [
            (stranger, "not made with a key"),
            (tampered, "not made with a key"),
            (swapped, "not made with a key"),
            (mangled, "not base64"),
            (with("/critical/image/docker-manifest-digest", json!(Digest::of(b"x"))), "another image"),
            (with("/critical/image/docker-manifest-digest", json!("md5:1")), "malformed"),
            (with("/critical/type", json!("atomic container signature")), "something else"),
            (with("/critical/image", json!({ "docker-manifest-digest": image(), "unless": 1 })), "malformed"),
            (with("/critical", json!({})), "malformed"),
            (with("/critical/identity/docker-reference", json!("A/B")), "names no image"),
            (with("/critical/identity/docker-reference", json!("a.example/app:2")), "signed as a.example/app:2"),
            (with("/critical/identity/docker-reference", json!("a.example/app")), "matchRepository"),
        ] {
            let refused = judge(&demands, &[signature]).expect_err("does not count");
            assert!(refused.contains(reason), "{reason}: {refused}");
        }
        assert!(judge(&demands, &[]).expect_err("nothing is signed").contains("not signed"));
    }
}

#[test]
fn the_name_that_was_signed_has_to_fit_the_one_that_is_used() {
    let signer = Signer::p256();
    let accepts = |identity: Value, signed: &str, used: &str| {
        let mut wanted = signer.wanted();
        wanted["signedIdentity"] = identity;
        judge(&demands(&json!([wanted]), used), &[signer.sign(&payload(signed, image()))]).is_ok()
    };
    let by_digest = &format!("a.example/app@{}", image());
    let both = &format!("a.example/app:1@{}", image());
    let exactly = json!({ "type": "exactReference", "dockerReference": "b.example/app:2" });
    let repository = json!({ "type": "exactRepository", "dockerRepository": "b.example/app" });
    for (identity, signed, used, accepted) in [
        (json!({ "type": "matchRepoDigestOrExact" }), "a.example/app:1", "a.example/app:1", true),
        (json!({ "type": "matchRepoDigestOrExact" }), "a.example/app:1", "a.example/app:2", false),
        (json!({ "type": "matchRepoDigestOrExact" }), "a.example/app", "a.example/app:latest", false),
        (json!({ "type": "matchRepoDigestOrExact" }), "a.example/app:2", by_digest, true),
        (json!({ "type": "matchRepoDigestOrExact" }), "a.example/app", both, true),
        (json!({ "type": "matchRepoDigestOrExact" }), "b.example/app:1", by_digest, false),
        (json!({ "type": "matchExact" }), "a.example/app:1", "a.example/app:1", true),
        (json!({ "type": "matchExact" }), "a.example/app:1", by_digest, false),
        (json!({ "type": "matchExact" }), by_digest, by_digest, true),
        (json!({ "type": "matchRepository" }), "a.example/app", "a.example/app:1", true),
        (json!({ "type": "matchRepository" }), "a.example/app:2", "a.example/app:1", true),
        (json!({ "type": "matchRepository" }), "a.example/app/x", "a.example/app:1", false),
        (exactly.clone(), "b.example/app:2", "a.example/app:1", true),
        (exactly, "a.example/app:1", "a.example/app:1", false),
        (repository.clone(), "b.example/app", "a.example/app:1", true),
        (repository, "a.example/app", "a.example/app:1", false),
    ] {
        assert_eq!(accepts(identity.clone(), signed, used), accepted, "{identity}: {signed} for {used}");
    }
}

#[test]
fn all_demands_have_to_be_met_and_an_index_counts_like_its_manifest() {
    let (one, other) = (Signer::p256(), Signer::ed25519());
    let demands = demands(&json!([one.wanted(), other.wanted()]), "a.example/app:1");
    let by_one = one.sign(&payload("a.example/app:1", image()));
    let by_other = other.sign(&payload("a.example/app:1", Digest::of(b"an index")));
    assert_eq!(judge(&demands, &[by_one.clone(), by_other.clone()]), Ok(2));
    for only in [by_one, by_other] {
        judge(&demands, &[only]).expect_err("the other signature is missing");
    }
}
