use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn full(text: &str) -> String {
    text.parse::<Reference>().unwrap_or_else(|error| panic!("{text:?}: {error}")).to_string()
}

/// Parses whatever bytes there are; must not panic, and what parses must read back as itself.
fn fuzz_one(bytes: &[u8]) {
    if let Ok(reference) = String::from_utf8_lossy(bytes).parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().expect("full names parse"), reference);
    }
}

#[test]
fn short_names_are_docker_hubs() {
    assert_eq!(full("busybox"), "docker.io/library/busybox:latest");
    assert_eq!(full("busybox:1.36"), "docker.io/library/busybox:1.36");
    assert_eq!(full("team/app"), "docker.io/team/app:latest");
    assert_eq!(full("docker.io/busybox"), "docker.io/library/busybox:latest");
    assert_eq!(full("index.docker.io/busybox"), "docker.io/library/busybox:latest");
    assert_eq!(full("docker.io/team/app:a"), "docker.io/team/app:a");
}

#[test]
fn a_first_part_that_cannot_be_a_path_is_a_domain() {
    assert_eq!(full("localhost/a"), "localhost/a:latest");
    assert_eq!(full("localhost:5000/a"), "localhost:5000/a:latest");
    assert_eq!(full("127.0.0.1:5000/a/b:t"), "127.0.0.1:5000/a/b:t");
    assert_eq!(full("[::1]:5000/a"), "[::1]:5000/a:latest");
    assert_eq!(full("[fd00::2]/a"), "[fd00::2]/a:latest");
    assert_eq!(full("a.example/b"), "a.example/b:latest");
    assert_eq!(full("UPPER/b"), "UPPER/b:latest");
    assert_eq!(full("localhost:5000"), "docker.io/library/localhost:5000");
}

#[test]
fn tag_and_digest_are_both_kept() {
    let reference: Reference = format!("busybox:1.36@{DIGEST}").parse().expect("parses");
    assert_eq!(reference.domain(), "docker.io");
    assert_eq!(reference.repository(), "library/busybox");
    assert_eq!(reference.tag(), Some("1.36"));
    assert_eq!(reference.digest().expect("has a digest").to_string(), DIGEST);
    assert_eq!(reference.to_string(), format!("docker.io/library/busybox:1.36@{DIGEST}"));
    assert_eq!(reference.tagged().expect("has a tag"), "docker.io/library/busybox:1.36");
    assert_eq!(full(&format!("busybox@{DIGEST}")), format!("docker.io/library/busybox@{DIGEST}"));
}

#[test]
fn a_pinned_reference_loses_its_tag() {
    let digest: Digest = DIGEST.parse().expect("parses");
    let reference: Reference = "localhost/a:b".parse().expect("parses");
    assert_eq!(reference.pinned(digest).to_string(), format!("localhost/a@{DIGEST}"));
}

#[test]
fn image_ids_are_no_names() {
    for id in [DIGEST, &DIGEST["sha256:".len()..]] {
        assert!(matches!(id.parse::<Reference>(), Err(InvalidReference::Identifier(_))), "{id:?} was taken for a name");
    }
    assert_eq!(full("sha256:short"), "docker.io/library/sha256:short");
}

#[test]
fn separators_follow_the_grammar() {
    for good in ["a.b", "a_b", "a__b", "a-b", "a---b", "a0/1b"] {
        full(good);
    }
    for bad in ["a..b", "a___b", "a._b", "a_-b", ".a", "a.", "-a", "a-", "_a", "a_", "a//b", "/a", "a/", "a/.b", "é"] {
        assert!(bad.parse::<Reference>().is_err(), "{bad:?} was taken for a name");
    }
}

#[test]
fn what_is_not_a_name_is_refused() {
    let bad = [
        "",
        ":tag",
        "a:",
        "a:-b",
        "a:b:c",
        "a:b/c",
        "a@",
        "a@sha256:12",
        "a@sha512:00",
        "@",
        "a b",
        "a\n",
        "a\0",
        "Busybox",
        "localhost/Busybox",
        "http://localhost/a",
        "localhost:/a",
        "localhost:99999/a",
        "localhost:+1/a",
        "[::1/a",
        "[::1]x/a",
        "[]/a",
        "-a.b/c",
        "a..b:1/c",
        "a.b/../c",
        "a.b//c",
    ];
    for bad in bad {
        assert!(bad.parse::<Reference>().is_err(), "{bad:?} was taken for a name");
    }
}

#[test]
fn lengths_are_bounded() {
    full(&format!("localhost/{}:{}", "a".repeat(MAX_PATH), "b".repeat(MAX_TAG)));
    for bad in [
        format!("localhost/{}", "a".repeat(MAX_PATH + 1)),
        format!("a:{}", "b".repeat(MAX_TAG + 1)),
        format!("{}.b/c", "a".repeat(MAX_DOMAIN)),
        "a".repeat(1 << 20),
    ] {
        let error = bad.parse::<Reference>().expect_err("too long");
        assert!(error.to_string().len() < 200, "the error repeats the whole name");
    }
}

#[test]
fn records_keep_references_as_text() {
    let reference: Reference = "localhost:5000/a:b".parse().expect("parses");
    let json = serde_json::to_string(&reference).expect("serialises");
    assert_eq!(json, r#""localhost:5000/a:b""#);
    assert_eq!(serde_json::from_str::<Reference>(&json).expect("parses"), reference);
    assert!(serde_json::from_str::<Reference>(r#""A B""#).is_err());
}

proptest! {
    #[test]
    fn every_name_of_the_grammar_parses_and_reads_back(
        domain in r"(localhost|[a-z0-9]{1,8}\.[A-Za-z0-9]([a-z0-9-]{0,6}[a-z0-9])?|\[::[1-9a-f]\]|10\.0\.0\.[1-9])(:[1-9][0-9]{0,3})?",
        path in r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}){0,3}",
        tag in proptest::option::of(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"),
        digest in proptest::option::of(any::<[u8; 32]>()),
    ) {
        let digest = digest.map(Digest::from_sha256);
        let tag_part = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest_part = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        let reference: Reference = format!("{domain}/{path}{tag_part}{digest_part}").parse().expect("parses");
        prop_assert_eq!(reference.domain(), domain);
        prop_assert_eq!(reference.repository(), path);
        prop_assert_eq!(reference.digest(), digest);
        prop_assert_eq!(reference.tag().is_some(), tag.is_some() || digest.is_none());
        prop_assert_eq!(reference.to_string().parse::<Reference>().expect("full names parse"), reference);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_one(&bytes);
    }

    #[test]
    fn nearly_valid_names_never_panic(text in r"[a-zA-Z0-9\[\]:/@._-]{0,90}") {
        fuzz_one(text.as_bytes());
    }
}
