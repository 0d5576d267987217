//! Pushing, logging in, and names.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use berth::wire::{ImageSpec, RemoveImageRequest};
use serde_json::{Value, json};

use crate::{
    cli::{berth, code, json, text},
    images::find,
    support::{Archive, BUSYBOX, Compression, Daemon, Layer, Registry, digest, shell},
};

async fn remove(daemon: &Daemon, image: &str) {
    let image = Some(ImageSpec { image: image.to_owned(), ..Default::default() });
    daemon.image().remove_image(RemoveImageRequest { image }).await.expect("remove the image");
}

/// The states that the blobs of a transfer ended in, and its result, from the lines of `--json`.
fn events(lines: &str) -> (Vec<String>, Value) {
    let mut states = Vec::new();
    let mut result = Value::Null;
    for line in lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON")) {
        for blob in line["blobs"].as_array().into_iter().flatten() {
            let position = blob["position"].as_u64().and_then(|position| usize::try_from(position).ok());
            let position = position.expect("a position");
            states.resize(states.len().max(position + 1), String::new());
            states[position] = blob["state"].as_str().expect("a state").to_owned();
        }
        result = line;
    }
    (states, result)
}

#[tokio::test]
async fn an_imported_image_is_pushed_with_its_digests_and_comes_back() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let archive = Archive::busybox().with_layer(Layer::new().file("big", 0o644, 0, &noise(9 << 20)), Compression::Zstd);
    daemon.import(archive.oci_layout(BUSYBOX), "").await.expect("import");
    let name = format!("{}/team/copy:1", Registry::ADDRESS);
    let (states, result) = events(&text(&daemon, &["image", "push", "--json", BUSYBOX, &name]).await);
    assert_eq!((states, &result["digest"]), (vec!["DONE".to_owned(); 3], &json!(archive.manifest)));
    assert_eq!(digest(&registry.get("team/copy/manifests/1").await.bytes().await.expect("a body")), archive.manifest);

    // A second time, nothing is sent.
    let (states, _) = events(&text(&daemon, &["image", "push", "--json", BUSYBOX, &name]).await);
    assert_eq!(states, vec!["PRESENT"; 3]);
    remove(&daemon, BUSYBOX).await;
    let (states, result) = events(&text(&daemon, &["image", "pull", "--json", &name]).await);
    assert_eq!((states, &result["id"]), (vec!["DONE".to_owned(); 2], &json!(archive.id())));
    let mut config = shell("c", "wc -c < /big");
    config.image.as_mut().expect("an image").image = archive.id();
    assert_eq!(daemon.run_to_end(&config).await.1, format!("{}\n", 9 << 20));
}

#[tokio::test]
async fn a_pulled_image_is_mounted_in_its_registry_and_fetched_again_for_others() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let archive = Archive::busybox();
    let source = registry.push(&archive, "library/busybox", "1").await;
    text(&daemon, &["image", "pull", &source]).await;
    let (states, _) =
        events(&text(&daemon, &["image", "push", "--json", &source, &format!("{}/mine:1", Registry::ADDRESS)]).await);
    assert_eq!(states, ["MOUNTED"; 2]);

    // Its layer was not kept when it was unpacked.
    let other = Registry::start_with(Registry::OTHER_ADDRESS, "").await;
    let destination = format!("{}/mine:1", Registry::OTHER_ADDRESS);
    let (states, result) = events(&text(&daemon, &["image", "push", "--json", &source, &destination]).await);
    assert_eq!((states, &result["digest"]), (vec!["DONE".to_owned(); 2], &json!(archive.manifest)));
    assert_eq!(digest(&other.get("mine/manifests/1").await.bytes().await.expect("a body")), archive.manifest);

    drop(registry);
    let output = berth(&daemon, &["image", "push", &source, &format!("{}/third:1", Registry::OTHER_ADDRESS)]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(code(&output) == 1 && stderr.contains("image.keep_blobs"), "{stderr}");
}

#[tokio::test]
async fn all_platforms_of_an_index_are_pushed_when_that_is_asked_for() {
    requires!(Root, DockerRegistry);
    let daemon = Daemon::start().await;
    let registry = Registry::start().await;
    let (ours, foreign) = (Archive::busybox(), Archive::busybox().with_config(&json!({ "Labels": { "other": "1" } })));
    registry.push(&ours, "multi", "ours").await;
    registry.push(&foreign, "multi", "foreign").await;
    let entry = |archive: &Archive, architecture: &str| {
        json!({ "mediaType": archive.manifest()["mediaType"], "digest": archive.manifest,
            "size": archive.blobs[&archive.manifest].len(), "platform": { "os": "linux", "architecture": architecture } })
    };
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&ours, architecture), entry(&foreign, "s390x")] });
    let source = registry.push_index(&index, "multi", "latest").await;
    text(&daemon, &["image", "pull", &source]).await;

    let other = Registry::start_with(Registry::OTHER_ADDRESS, "").await;
    let name = |tag: &str| format!("{}/multi:{tag}", Registry::OTHER_ADDRESS);
    text(&daemon, &["image", "push", &source, &name("one")]).await;
    assert_eq!(digest(&other.get("multi/manifests/one").await.bytes().await.expect("a body")), ours.manifest);
    text(&daemon, &["image", "push", "--all-platforms", &source, &name("all")]).await;
    let pushed = other.get("multi/manifests/all").await.bytes().await.expect("a body");
    assert_eq!(digest(&pushed), digest(index.to_string().as_bytes()));
    assert!(other.get(&format!("multi/manifests/{}", foreign.manifest)).await.status().is_success());
}

#[tokio::test]
async fn a_login_is_checked_kept_for_its_owner_and_forgotten() {
    requires!(Root, DockerRegistry, Htpasswd);
    let daemon = Daemon::start().await;
    let _registry = locked(&daemon, Registry::ADDRESS).await;
    daemon.import_busybox().await;
    let name = format!("{}/mine:1", Registry::ADDRESS);
    let file = daemon.path("auth/config.json");
    let path = file.display().to_string();
    let with_file = |verb: &[&str]| [verb, &["--authfile", &path]].concat().iter().map(|&s| s.to_owned()).collect();
    let run = async |verb: &[&str], input: &str| {
        let arguments: Vec<String> = with_file(verb);
        let mut command = daemon.cli(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let input = input.to_owned();
        let work = move || {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("run berth");
            let written = std::io::Write::write_all(&mut child.stdin.take().expect("its input"), input.as_bytes());
            // A verb that reads nothing may be gone already.
            drop(written);
            child.wait_with_output().expect("wait")
        };
        tokio::task::spawn_blocking(work).await.expect("the thread")
    };
    let login = ["login", "-u", "user", "--password-stdin", Registry::ADDRESS];
    assert_eq!(code(&run(&login, "wrong\n").await), 1);
    assert!(!file.exists(), "a wrong password is kept");
    assert_eq!(code(&run(&["image", "push", BUSYBOX, &name], "").await), 1, "nobody may push");

    let output = run(&login, "secret\n").await;
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    for verb in [&["image", "push", BUSYBOX, &name][..], &["image", "pull", "--quiet", &name]] {
        let output = run(verb, "").await;
        assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(code(&run(&["logout", Registry::ADDRESS], "").await), 0);
    assert_eq!(code(&run(&["logout", Registry::ADDRESS], "").await), 1);
    assert_eq!(code(&run(&["image", "pull", &name], "").await), 1, "it is not logged out");
    assert!(!daemon.output().contains("secret"), "the password is in the log");
}

#[tokio::test]
async fn what_was_not_kept_is_fetched_again_with_the_credentials_for_where_it_came_from() {
    requires!(Root, DockerRegistry, Htpasswd);
    let own = tempfile::NamedTempFile::new().expect("make a file");
    let daemon = Daemon::start_with(&format!("credentials = [{:?}]\n", own.path())).await;
    let _registries = (locked(&daemon, Registry::ADDRESS).await, locked(&daemon, Registry::OTHER_ADDRESS).await);
    let (source, destination) = (Registry::ADDRESS, Registry::OTHER_ADDRESS);
    let [both, only_destination, only_source] =
        [&[source, destination][..], &[destination], &[source]].map(|registries| {
            let auths: serde_json::Map<_, _> =
                registries.iter().map(|&name| (name.to_owned(), json!({ "auth": "dXNlcjpzZWNyZXQ=" }))).collect();
            json!({ "auths": auths }).to_string()
        });
    fs::write(own.path(), "{}").expect("write");
    let file = daemon.path("auth.json").display().to_string();
    let (name, copy, archive) =
        (format!("{source}/private:1"), format!("{destination}/copy:1"), daemon.path("saved.tar"));
    daemon.import_busybox().await;
    fs::write(&file, &both).expect("write");
    text(&daemon, &["image", "push", "--authfile", &file, BUSYBOX, &name]).await;
    remove(&daemon, BUSYBOX).await;
    text(&daemon, &["image", "pull", "--authfile", &file, &name]).await;

    // Both registries take the same password: were that for the destination shown to the source, it would do.
    fs::write(&file, &only_destination).expect("write");
    let archive = archive.display().to_string();
    let (push, save) = (
        ["image", "push", "--authfile", &file, &name, &copy],
        ["image", "save", "--authfile", &file, "-o", &archive, &name],
    );
    for verb in [&push[..], &save] {
        let output = berth(&daemon, verb).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(code(&output) == 1 && stderr.contains("image.keep_blobs"), "{verb:?}: {stderr}");
    }
    fs::write(&file, &only_source).expect("write");
    text(&daemon, &save).await;
    fs::write(&file, &both).expect("write");
    text(&daemon, &push).await;

    // Without any of the caller's, the engine's own.
    fs::write(&file, "{}").expect("write");
    fs::write(own.path(), &only_source).expect("write");
    text(&daemon, &save).await;
    assert!(!daemon.output().contains("dXNlcjpzZWNyZXQ") && !daemon.output().contains("secret"), "it is in the log");
}

#[tokio::test]
async fn names_come_and_go_and_what_has_none_is_pruned() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let archive = Archive::busybox();
    daemon.import(archive.oci_layout(BUSYBOX), "").await.expect("import");
    text(&daemon, &["image", "tag", BUSYBOX, "tools.example/busybox:2", "second"]).await;
    let image = find(&daemon, "second").await.expect("the image");
    assert_eq!(image.repo_tags.len(), 3, "{image:?}");
    text(&daemon, &["image", "untag", BUSYBOX, "tools.example/busybox:2"]).await;
    assert_eq!(find(&daemon, BUSYBOX).await, None);
    assert_eq!(code(&berth(&daemon, &["image", "untag", BUSYBOX]).await), 1);

    assert_eq!(json(&daemon, &["image", "prune", "--json"]).await["images"], json!([]), "it has a tag");
    text(&daemon, &["image", "untag", "second"]).await;
    let pod_config = crate::support::pod(&daemon, "user");
    let pod = daemon.run_pod(&pod_config).await;
    let mut config = shell("c", "true");
    config.image.as_mut().expect("an image").image = archive.id();
    daemon.create(&pod, &config, &pod_config).await;
    assert_eq!(json(&daemon, &["image", "prune", "--all", "--json"]).await["images"], json!([]), "it is in use");
    daemon.remove_pod(&pod).await;
    let pruned = json(&daemon, &["image", "prune", "--json"]).await;
    assert_eq!(pruned["images"][0]["id"], archive.id());
    assert_ne!(pruned["reclaimed"], "0");
    assert_eq!(find(&daemon, &archive.id()).await, None);
}

/// A registry that takes the password `secret` of `user` and nobody else's.
async fn locked(daemon: &Daemon, address: &'static str) -> Registry {
    let passwords = daemon.path("htpasswd");
    let made = std::process::Command::new("htpasswd").arg("-Bbc").arg(&passwords).args(["user", "secret"]).output();
    assert!(made.expect("run htpasswd").status.success());
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", passwords.display());
    Registry::start_with(address, &auth).await
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(count / 8).flatten().collect()
}
