//! The protocol, with plugins that are shell scripts: each writes down what it was told, and answers as it is set to.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use super::*;
use crate::{
    error::{Classify as _, Kind},
    network,
    types::{DnsConfig, PodMetadata, PortMapping, Protocol},
};

/// What a plugin does before anything else: it writes down its call and takes in its request.
const PROLOGUE: &str = r#"#!/bin/sh
me=${0##*/}; dir=${0%/*}/..
request=$(cat)
echo "$me $CNI_COMMAND" >>"$dir/calls"
echo "$request" >"$dir/$me.$CNI_COMMAND.request"
env | sort >"$dir/$me.$CNI_COMMAND.env"
"#;

/// Answers ADD with an address, and everything else with success.
const GOOD: &str = r#"
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.1.0","interfaces":[{"name":"b0"},
{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/ns"}],"ips":[{"address":"fd00::5/64","interface":1},
{"address":"10.0.0.1/24","interface":0},{"address":"10.0.0.5/24","interface":1}]}'
"#;

/// Answers ADD with the result it was given.
const ECHO: &str = r#"
[ "$CNI_COMMAND" != ADD ] || echo '{"ips":[{"address":"10.0.0.9/24"}]}'
"#;

struct Setup {
    dir: tempfile::TempDir,
    cni: Cni,
}

impl Setup {
    /// Plugins by name, and a network of them in this order.
    fn new(version: &str, plugins: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        for name in ["conf", "bin"] {
            fs::create_dir(dir.path().join(name)).expect("dir");
        }
        let setup = Self { cni: open(dir.path(), Duration::from_secs(20)), dir };
        for (name, script) in plugins {
            setup.install(name, script);
        }
        let plugins: Vec<_> = plugins.iter().map(|(name, _)| json!({ "type": name })).collect();
        setup.configure(&json!({ "cniVersion": version, "name": "net", "plugins": plugins }));
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A pod of this setup alone: a recovery kills the plugins of its pods wherever they run, in other tests too.
    fn pod(&self, number: u8) -> Id {
        let mut bytes = [number; 32];
        let name = self.dir.path().file_name().expect("name").as_encoded_bytes();
        bytes[..name.len()].copy_from_slice(name);
        Id::from_bytes(bytes)
    }

    fn install(&self, name: &str, script: &str) {
        let source = self.path("source");
        fs::write(&source, format!("{PROLOGUE}{script}")).expect("write");
        // By another process: a file that this one has written could still be open in a child that another test has just
        // forked, and then it cannot be executed.
        let installed = Command::new("install").arg("-m755").arg(source).arg(self.path("bin").join(name)).status();
        assert!(installed.expect("run install").success());
    }

    fn configure(&self, network: &Value) {
        fs::write(self.path("conf/10-net.conflist"), network.to_string()).expect("write");
    }

    async fn attach(&self, pod: &Id, config: &PodConfig) -> Result<Attachment, network::Error> {
        self.cni.attach(pod, Path::new("/proc/self/ns/net"), config).await
    }

    /// What the plugins were asked, since this was last called.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        text.lines().map(str::to_owned).collect()
    }

    fn request(&self, plugin: &str, verb: &str) -> Value {
        let bytes = fs::read(self.path(&format!("{plugin}.{verb}.request"))).expect("the plugin was asked");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn records(&self) -> usize {
        fs::read_dir(self.path("cache")).expect("dir").count()
    }

    /// Another daemon on the same files; waits for what it does after its start.
    async fn restart(&mut self, live: &[&Id]) -> Recovery {
        self.cni = open(self.dir.path(), Duration::from_secs(20));
        let live = live.iter().map(|&id| id.clone()).collect();
        let recovery = self.cni.recover(&live).await.expect("recovery");
        self.cni.close().await;
        recovery
    }
}

fn open(dir: &Path, timeout: Duration) -> Cni {
    let (conf_dir, bin_dirs) = (dir.join("conf"), vec![dir.join("none"), dir.join("bin")]);
    Cni::open(Config { conf_dir, bin_dirs, cache_dir: dir.join("cache"), timeout }).expect("open")
}

fn text(error: network::Error) -> String {
    chain(&error)
}

#[tokio::test]
async fn a_chain_is_run_forth_and_back_with_the_results_handed_on() {
    let setup = Setup::new("1.0.0", &[("first", GOOD), ("second", ECHO)]);
    let attachment = setup.attach(&setup.pod(1), &PodConfig::default()).await.expect("attach");
    assert_eq!(attachment.ips, ["10.0.0.9".parse::<std::net::IpAddr>().expect("ip")]);
    assert_eq!(setup.request("second", "ADD")["prevResult"]["ips"][0]["address"], "fd00::5/64");
    assert!(setup.request("first", "ADD").get("prevResult").is_none());
    assert_eq!(setup.attach(&setup.pod(1), &PodConfig::default()).await.expect("again"), attachment);
    assert_eq!(setup.cni.attachment(&setup.pod(1)), Some(attachment));
    setup.cni.detach(&setup.pod(1)).await.expect("detach");
    setup.cni.detach(&setup.pod(1)).await.expect("detach twice");
    assert_eq!(setup.calls(), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    for plugin in ["first", "second"] {
        assert_eq!(setup.request(plugin, "DEL")["prevResult"]["ips"][0]["address"], "10.0.0.9/24");
        assert_eq!(setup.request(plugin, "DEL")["name"], "net");
    }
    assert_eq!((setup.records(), setup.cni.attachment(&setup.pod(1))), (0, None));
}

#[tokio::test]
async fn addresses_of_the_pods_link_count_ipv4_first() {
    let setup = Setup::new("1.0.0", &[("only", GOOD)]);
    let attachment = setup.attach(&setup.pod(1), &PodConfig::default()).await.expect("attach");
    let ips: Vec<_> = attachment.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.0.0.5", "fd00::5"], "the bridge's address is not the pod's");
    assert_eq!((attachment.interface.as_str(), attachment.mac.as_str()), ("eth0", "02:00:00:00:00:01"));
}

#[tokio::test]
async fn plugins_get_a_clean_environment_and_only_what_they_declare() {
    let setup = Setup::new("1.0.0", &[("plain", GOOD), ("mapper", ECHO)]);
    setup.configure(&json!({ "cniVersion": "1.0.0", "name": "net", "plugins": [
        { "type": "plain", "mtu": 1400 },
        { "type": "mapper", "capabilities": { "portMappings": true, "bandwidth": true, "dns": true, "cgroupPath": true,
          "mac": true } },
    ]}));
    let port = |host_port| PortMapping { protocol: Protocol::Udp, container_port: 53, host_port, host_ip: None };
    let config = PodConfig {
        metadata: PodMetadata { name: "p".into(), namespace: "n".into(), uid: "u".into(), attempt: 0 },
        ports: vec![port(0), port(5353)],
        annotations: [("kubernetes.io/egress-bandwidth".to_owned(), "1M".to_owned())].into(),
        dns: Some(DnsConfig { servers: vec!["10.0.0.53".into()], ..DnsConfig::default() }),
        cgroup_parent: "/pods/p".into(),
        ..PodConfig::default()
    };
    setup.attach(&setup.pod(1), &config).await.expect("attach");
    let plain = setup.request("plain", "ADD");
    assert_eq!(plain, json!({ "type": "plain", "mtu": 1400, "name": "net", "cniVersion": "1.0.0" }));
    let mapper = setup.request("mapper", "ADD");
    assert!(mapper.get("capabilities").is_none());
    assert_eq!(
        mapper["runtimeConfig"],
        json!({
            "portMappings": [{ "hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "" }],
            "bandwidth": { "egressRate": 1_000_000, "egressBurst": u32::MAX },
            "dns": { "servers": ["10.0.0.53"], "searches": [], "options": [] },
            "cgroupPath": "/pods/p",
        })
    );

    let environment = fs::read_to_string(setup.path("mapper.ADD.env")).expect("env");
    let told = |name: &str| environment.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    assert_eq!(told("CNI_IFNAME"), Some("eth0"));
    assert_eq!(told("CNI_NETNS"), Some("/proc/self/ns/net"));
    assert_eq!(told("CNI_CONTAINERID"), Some(setup.pod(1).as_str()));
    let arguments: HashSet<&str> = told("CNI_ARGS").expect("arguments").split(';').collect();
    let infra = format!("K8S_POD_INFRA_CONTAINER_ID={}", setup.pod(1));
    for wanted in ["IgnoreUnknown=1", "K8S_POD_NAME=p", "K8S_POD_NAMESPACE=n", "K8S_POD_UID=u", &infra] {
        assert!(arguments.contains(wanted), "{arguments:?} lacks {wanted}");
    }
    let path = told("CNI_PATH").expect("path");
    assert!(path.starts_with(&format!("{}/none:", setup.dir.path().display())), "{path}");
    // PWD, SHLVL and _ are the shell's own.
    let known = |name: &str| name.starts_with("CNI_") || matches!(name, "PATH" | "PWD" | "SHLVL" | "_" | "OLDPWD");
    let foreign: Vec<_> = environment.lines().filter(|line| !known(line.split('=').next().unwrap_or(""))).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[tokio::test]
async fn a_failed_add_is_told_in_the_plugins_words_and_undone_in_the_whole_chain() {
    let angry = r#"[ "$CNI_COMMAND" != ADD ] || { echo '{"code":11,"msg":"no room","details":"all /24"}'; exit 1; }"#;
    let setup = Setup::new("0.4.0", &[("first", GOOD), ("angry", angry), ("third", ECHO)]);
    let error = setup.attach(&setup.pod(1), &PodConfig::default()).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Unavailable, "code 11 is: try again");
    assert_eq!(text(error), "cni plugin angry failed to ADD: no room (code 11): all /24");
    assert_eq!(setup.calls(), ["first ADD", "angry ADD", "third DEL", "angry DEL", "first DEL"]);
    assert!(setup.request("first", "DEL").get("prevResult").is_none(), "there is no result of the chain");
    assert_eq!(setup.records(), 0);
}

#[tokio::test]
async fn what_is_no_answer_of_the_specifications_is_refused() {
    let address = r#""ips":[{"address":"10.0.0.5/24","interface":7}]"#;
    for (script, wanted) in [
        ("echo oops >&2; exit 3".to_owned(), "failed to ADD (exit status: 3): oops"),
        ("kill -9 $$".to_owned(), "signal: 9"),
        ("echo nonsense".to_owned(), "is not JSON"),
        (r#"echo '{"ips":7}'"#.to_owned(), "is no result"),
        (r#"echo '{"ips":[]}'"#.to_owned(), "has no address for eth0"),
        (format!("echo '{{{address}}}'"), "interface 7, which it has not"),
        ("head -c 2000000 /dev/zero".to_owned(), "longer than"),
    ] {
        let setup = Setup::new("1.0.0", &[("bad", &format!("[ \"$CNI_COMMAND\" != ADD ] || {{ {script}; }}"))]);
        let refused = text(setup.attach(&setup.pod(1), &PodConfig::default()).await.expect_err("refused"));
        assert!(refused.contains("plugin bad") && refused.contains(wanted), "{script}: {refused}");
        assert_eq!(setup.calls(), ["bad ADD", "bad DEL"]);
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    let hanging = r#"[ "$CNI_COMMAND" = DEL ] || { sleep 1000 & echo $! >"$dir/child"; wait; }"#;
    let mut setup = Setup::new("1.0.0", &[("slow", hanging)]);
    setup.cni = open(setup.dir.path(), Duration::from_secs(4));
    let error = setup.attach(&setup.pod(1), &PodConfig::default()).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    assert_eq!(setup.calls(), ["slow ADD", "slow DEL"]);
    let child = fs::read_to_string(setup.path("child")).expect("its id");
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[tokio::test]
async fn a_del_that_fails_is_asked_again_and_told_what_add_was_told() {
    let stubborn = r#"
        [ "$CNI_COMMAND" != DEL ] || [ -e "$dir/yield" ] || { echo '{"code":100,"msg":"busy"}'; exit 1; }"#;
    let setup = Setup::new("1.0.0", &[("plain", &format!("{GOOD}{stubborn}"))]);
    setup.attach(&setup.pod(1), &PodConfig::default()).await.expect("attach");
    let refused = text(setup.cni.detach(&setup.pod(1)).await.expect_err("refused"));
    assert!(refused.contains("failed to DEL: busy (code 100)"), "{refused}");
    assert_eq!(setup.records(), 1);
    fs::write(setup.path("yield"), "").expect("write");
    setup.configure(&json!({ "cniVersion": "0.4.0", "name": "another", "plugins": [{ "type": "absent" }] }));
    setup.cni.detach(&setup.pod(1)).await.expect("detach");
    assert_eq!((setup.records(), setup.request("plain", "DEL")["name"].as_str()), (0, Some("net")));
}

#[tokio::test]
async fn early_versions_have_no_result_in_del_and_no_check() {
    let mut setup = Setup::new("0.3.1", &[("old", GOOD)]);
    setup.attach(&setup.pod(1), &PodConfig::default()).await.expect("attach");
    setup.restart(&[&setup.pod(1)]).await;
    setup.cni.detach(&setup.pod(1)).await.expect("detach");
    assert!(setup.request("old", "DEL").get("prevResult").is_none());
    assert_eq!(setup.calls(), ["old ADD", "old DEL"]);
}

#[tokio::test]
async fn a_restart_keeps_the_living_and_has_the_dead_unmade() {
    let mut setup = Setup::new("1.1.0", &[("p", GOOD)]);
    for number in 1..=3 {
        setup.attach(&setup.pod(number), &PodConfig::default()).await.expect("attach");
    }
    // As a daemon leaves it that is killed while plugins work on the third.
    let mut unfinished = setup.cni.shared.cache.get(&setup.pod(3)).expect("readable").expect("a record");
    unfinished.result = None;
    unfinished.target.netns = setup.path("gone");
    setup.cni.shared.cache.put(&unfinished).expect("write");
    setup.calls();

    let recovery = setup.restart(&[&setup.pod(1), &setup.pod(3)]).await;
    assert_eq!(recovery.kept, 1);
    assert_eq!(HashSet::from_iter(recovery.released), HashSet::from([setup.pod(2), setup.pod(3)]));
    assert_eq!(setup.calls(), ["p DEL", "p DEL", "p CHECK", "p GC"]);
    assert_eq!(setup.records(), 1);
    assert!(setup.cni.attachment(&setup.pod(1)).is_some());
    let valid = json!([{ "containerID": setup.pod(1).as_str(), "ifname": "eth0" }]);
    assert_eq!(setup.request("p", "GC")["cni.dev/valid-attachments"], valid);
    assert_eq!(setup.request("p", "CHECK")["prevResult"]["ips"][0]["address"], "fd00::5/64");
}

#[tokio::test]
async fn a_namespace_that_is_gone_has_no_path_for_del() {
    let setup = Setup::new("1.0.0", &[("p", GOOD)]);
    let netns = setup.path("netns");
    // A file that is no namespace any more, as the mount point is when the mount is gone.
    fs::write(&netns, "").expect("write");
    setup.cni.attach(&setup.pod(1), &netns, &PodConfig::default()).await.expect("attach");
    setup.cni.detach(&setup.pod(1)).await.expect("detach");
    let environment = fs::read_to_string(setup.path("p.DEL.env")).expect("env");
    assert!(environment.lines().any(|line| line == "CNI_NETNS="), "{environment}");
}

#[tokio::test]
async fn a_plugin_of_a_killed_daemon_is_ended_before_del() {
    let mut setup = Setup::new("1.0.0", &[("p", GOOD)]);
    setup.attach(&setup.pod(1), &PodConfig::default()).await.expect("attach");
    let mut orphan = tokio::process::Command::new("sh")
        .args(["-c", "sleep 30 & wait"])
        .env("CNI_CONTAINERID", setup.pod(1).as_str())
        .process_group(0)
        .spawn()
        .expect("start");
    setup.restart(&[]).await;
    let status = orphan.wait().await.expect("wait");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert_eq!(setup.records(), 0);
}

#[tokio::test]
async fn readiness_follows_the_configuration_and_the_plugins() {
    let not_ready = r#"
        [ "$CNI_COMMAND" != STATUS ] || [ -e "$dir/up" ] || { echo '{"code":50,"msg":"no route"}'; exit 1; }"#;
    let setup = Setup::new("1.1.0", &[("p", &format!("{GOOD}{not_ready}"))]);
    let status = async || setup.cni.status().await.map_err(|error| chain(&error));
    assert_eq!(status().await, Err("cni plugin p failed to STATUS: no route (code 50)".to_owned()));
    fs::write(setup.path("up"), "").expect("write");
    assert_eq!(status().await, Ok(()));

    fs::rename(setup.path("conf/10-net.conflist"), setup.path("away")).expect("rename");
    let missing = format!("cni config not loaded: no network config found in {}", setup.path("conf").display());
    assert_eq!(status().await, Err(missing.clone()));
    let refused = setup.attach(&setup.pod(1), &PodConfig::default()).await.expect_err("refused");
    assert_eq!((refused.kind(), text(refused)), (Kind::Unavailable, missing));
    assert_eq!(setup.records(), 0);

    setup.configure(&json!({ "cniVersion": "1.0.0", "name": "net", "plugins": [{ "type": "absent" }] }));
    let refused = status().await.expect_err("not installed");
    assert!(refused.contains("no cni plugin absent in") && refused.contains("/none, "), "{refused}");
    setup.configure(&json!({ "cniVersion": "1.0.0", "name": "net", "plugins": [{ "type": "p" }] }));
    assert_eq!(status().await, Ok(()));
}

#[tokio::test]
async fn names_that_would_smuggle_arguments_are_refused() {
    let setup = Setup::new("1.0.0", &[("p", GOOD)]);
    let metadata = PodMetadata { name: "x;K8S_POD_NAMESPACE=kube-system".into(), ..PodMetadata::default() };
    let refused =
        setup.attach(&setup.pod(1), &PodConfig { metadata, ..PodConfig::default() }).await.expect_err("refused");
    assert_eq!(refused.kind(), Kind::InvalidArgument);
    assert!(setup.calls().is_empty());
}
