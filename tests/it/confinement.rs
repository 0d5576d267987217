//! What containers may do: identity, capabilities, seccomp, hidden paths.

use berth::wire::{
    Capability, Int64Value, LinuxContainerSecurityContext, SecurityProfile, SupplementalGroupsPolicy,
    security_profile::ProfileType,
};
use tonic::Code;

use crate::support::{Archive, BUSYBOX, Daemon, container, pod, refusal, security, shell};

/// Runs a script with a security context and returns what it wrote.
async fn output(daemon: &Daemon, script: &str, set: impl FnOnce(&mut LinuxContainerSecurityContext)) -> String {
    let mut config = shell("c", script);
    set(security(&mut config));
    daemon.run_to_end(&config).await.1
}

fn number(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

fn profile(kind: ProfileType, name: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() })
}

const IDS: &str = "echo $(id -u) $(id -g) $(id -G)";

#[tokio::test]
async fn users_are_numbers_names_or_the_images() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    assert_eq!(output(&daemon, IDS, |_| {}).await, "0 0 0\n");
    assert_eq!(
        output(&daemon, IDS, |context| context.run_as_username = "app".into()).await,
        "1000 1000 1000 29 2000\n"
    );
    let with_groups = |context: &mut LinuxContainerSecurityContext| {
        context.run_as_user = number(1000);
        context.run_as_group = number(50);
        context.supplemental_groups = vec![77, 78];
    };
    let merged = output(&daemon, IDS, with_groups).await;
    let mut groups: Vec<&str> = merged.split_whitespace().skip(2).collect();
    groups.sort_unstable();
    assert_eq!(
        (merged.starts_with("1000 50 "), groups.as_slice()),
        (true, ["2000", "29", "50", "77", "78"].as_slice())
    );
    let strict = output(&daemon, IDS, |context| {
        with_groups(context);
        context.supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
    });
    assert_eq!(strict.await, "1000 50 50 77 78\n");

    for (user, ids) in [("app", "1000 1000 1000 29 2000"), ("1234:77", "1234 77 77"), ("app:audio", "1000 29 29 2000")]
    {
        let image = Archive::busybox().with_config(&serde_json::json!({ "User": user }));
        daemon.import(image.oci_layout("user:latest"), "").await.expect("import");
        let mut config = shell("c", IDS);
        config.image.as_mut().expect("an image").image = "user:latest".into();
        assert_eq!(daemon.run_to_end(&config).await.1.trim(), ids, "{user}");
    }
}

#[tokio::test]
async fn the_user_is_told_in_the_status() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut config = shell("c", "true");
    security(&mut config).run_as_username = "app".into();
    let (status, _) = daemon.run_to_end(&config).await;
    let user = status.user.and_then(|user| user.linux).expect("a user");
    assert_eq!((user.uid, user.gid), (1000, 1000));
    assert!(user.supplemental_groups.contains(&2000), "{user:?}");
}

#[tokio::test]
async fn users_that_cannot_be_are_refused() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let refuse = async |name: &str, set: &dyn Fn(&mut LinuxContainerSecurityContext)| {
        let mut container = container(name, &["true"]);
        set(security(&mut container));
        let answer = match daemon.try_create(&pod, &container, &config).await {
            Ok(id) => daemon.try_start(&id).await,
            Err(status) => Err(status),
        };
        refusal(answer.map(tonic::Response::new))
    };
    let (code, _) = refuse("group-alone", &|context| context.run_as_group = number(50)).await;
    assert_eq!(code, Code::InvalidArgument);
    let (code, _) = refuse("negative", &|context| context.run_as_user = number(-1)).await;
    assert_eq!(code, Code::InvalidArgument);
    let (_, message) = refuse("unknown", &|context| context.run_as_username = "nobody-knows".into()).await;
    assert!(message.contains("nobody-knows"), "{message}");
}

/// The bits of a capability set in the status of the process that runs the script.
async fn capabilities(daemon: &Daemon, set: &str, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> u64 {
    let text = output(daemon, &format!("grep {set} /proc/self/status"), change).await;
    u64::from_str_radix(text.split_whitespace().last().expect("a set"), 16).expect("hexadecimal digits")
}

#[tokio::test]
async fn capabilities_are_added_and_dropped() {
    requires!(Root);
    const CHOWN: u64 = 1 << 0;
    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;
    const SYS_ADMIN: u64 = 1 << 21;
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let default = capabilities(&daemon, "CapEff", |_| {}).await;
    assert_eq!(default & (CHOWN | NET_RAW), CHOWN | NET_RAW);
    assert_eq!(default & (SYS_ADMIN | NET_ADMIN), 0);
    let changed = |add: &'static [&str], drop: &'static [&str]| {
        move |context: &mut LinuxContainerSecurityContext| {
            let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
            let sets =
                Capability { add_capabilities: names(add), drop_capabilities: names(drop), ..Default::default() };
            context.capabilities = Some(sets);
        }
    };
    let eff = async |add, drop| capabilities(&daemon, "CapEff", changed(add, drop)).await;
    assert_eq!(eff(&["NET_ADMIN"], &[]).await, default | NET_ADMIN);
    assert_eq!(eff(&[], &["NET_RAW"]).await, default & !NET_RAW);
    assert_eq!(eff(&["NET_ADMIN"], &["ALL"]).await, NET_ADMIN);
    assert_eq!(eff(&[], &["ALL"]).await, 0);
    assert_ne!(eff(&["ALL"], &[]).await & SYS_ADMIN, 0);
    assert_eq!(capabilities(&daemon, "CapBnd", changed(&[], &["ALL"])).await, 0);
    let unprivileged = |context: &mut LinuxContainerSecurityContext| context.run_as_user = number(1000);
    assert_eq!(capabilities(&daemon, "CapEff", unprivileged).await, 0);

    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut wrong = container("c", &["true"]);
    changed(&["NO_SUCH"], &[])(security(&mut wrong));
    let (code, message) = refusal(daemon.try_create(&pod, &wrong, &config).await.map(tonic::Response::new));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("NO_SUCH"), "{message}");
}

#[tokio::test]
async fn seccomp_is_none_or_the_default_or_a_file() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mode = "grep Seccomp: /proc/self/status";
    assert_eq!(output(&daemon, mode, |context| context.seccomp = None).await, "Seccomp:\t0\n");
    assert_eq!(
        output(&daemon, mode, |context| context.seccomp = profile(ProfileType::RuntimeDefault, "")).await,
        "Seccomp:\t2\n"
    );
    assert_eq!(
        output(&daemon, mode, |context| context.seccomp = profile(ProfileType::Unconfined, "")).await,
        "Seccomp:\t0\n"
    );
    let privileged = output(&daemon, mode, |context| {
        context.privileged = true;
        context.seccomp = profile(ProfileType::RuntimeDefault, "");
    });
    assert_eq!(privileged.await, "Seccomp:\t0\n");

    let path = daemon.path("profile.json");
    let rules = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat", "a_call_of_the_future"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
    });
    std::fs::write(&path, rules.to_string()).expect("write the profile");
    let path = path.display().to_string();
    let text = output(&daemon, "mkdir /tmp/x 2>&1; echo ended", |context| {
        context.seccomp = profile(ProfileType::Localhost, &path);
    });
    assert!(text.await.contains("Operation not supported\nended"));

    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut wrong = container("c", &["true"]);
    security(&mut wrong).seccomp = profile(ProfileType::Localhost, "/no/such/profile.json");
    let (_, message) = refusal(daemon.try_create(&pod, &wrong, &config).await.map(tonic::Response::new));
    assert!(message.contains("/no/such/profile.json"), "{message}");
}

#[tokio::test]
async fn paths_are_hidden_and_protected() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "/bin/ls; cat /etc/group; find /usr -mindepth 1 | wc -l; echo x > /tmp/word";
    let text = output(&daemon, script, |context| {
        context.masked_paths = ["/bin/ls", "/etc/group", "/usr", "/no/such/masked"].map(str::to_owned).to_vec();
        context.readonly_paths = ["/tmp", "/no/such/readonly"].map(str::to_owned).to_vec();
    })
    .await;
    for wanted in ["/bin/ls: Permission denied\n", "0\n", "Read-only file system\n"] {
        assert!(text.contains(wanted) && !text.contains("audio"), "{text}");
    }
    // Kubernetes's `procMount: Unmasked`: nothing is named, so nothing is hidden.
    let text = output(&daemon, "grep ' /proc/' /proc/mounts; grep ' /sys/firmware' /proc/mounts; echo none", |_| {});
    assert_eq!(text.await, "none\n");
    let (code, _) = {
        let config = pod(&daemon, "p");
        let pod = daemon.run_pod(&config).await;
        let mut wrong = container("c", &["true"]);
        security(&mut wrong).masked_paths = vec!["../etc".into()];
        refusal(daemon.try_create(&pod, &wrong, &config).await.map(tonic::Response::new))
    };
    assert_eq!(code, Code::InvalidArgument);
}

#[tokio::test]
async fn privileges_are_not_gained_when_forbidden() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let layer = crate::support::Layer::new().symlink("bin/setuid", "busybox");
    let image = Archive::busybox().with_layer(layer, crate::support::Compression::Gzip);
    daemon.import(image.oci_layout(BUSYBOX), "").await.expect("import");
    let text = output(&daemon, "grep NoNewPrivs /proc/self/status", |context| context.no_new_privs = true).await;
    assert_eq!(text, "NoNewPrivs:\t1\n");
    let text = output(&daemon, "grep NoNewPrivs /proc/self/status", |_| {}).await;
    assert_eq!(text, "NoNewPrivs:\t0\n");
}

#[tokio::test]
async fn the_engines_own_program_cannot_be_reached() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let before = std::fs::read(env!("CARGO_BIN_EXE_berth")).expect("the program").len();
    let script = "for p in /proc/[0-9]*; do readlink $p/exe; echo x > $p/exe; done; true";
    let text = output(&daemon, script, |context| context.privileged = true).await;
    assert!(!text.contains("berth"), "{text}");
    assert_eq!(std::fs::read(env!("CARGO_BIN_EXE_berth")).expect("the program").len(), before);
}

#[tokio::test]
async fn a_privileged_container_has_the_hosts_devices_and_hides_nothing() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let text = output(
        &daemon,
        "test -e /dev/kmsg && echo kmsg; echo 1 > /proc/sys/net/ipv4/ip_forward && echo written",
        |context| {
            context.privileged = true;
            context.masked_paths = vec!["/etc/passwd".into()];
        },
    )
    .await;
    assert!(text.contains("kmsg") && text.contains("written"), "{text}");
}

/// A profile in the kernel, for as long as this is held.
struct LoadedProfile {
    file: tempfile::NamedTempFile,
}

impl LoadedProfile {
    fn load(name: &str, rules: &str) -> Self {
        let text = format!("profile {name} flags=(attach_disconnected) {{\n file,\n signal,\n {rules}\n}}\n");
        let file = tempfile::NamedTempFile::new().expect("make a file");
        std::fs::write(file.path(), text).expect("write");
        Self::parse(&file, "--replace");
        Self { file }
    }

    fn parse(file: &tempfile::NamedTempFile, verb: &str) {
        let parser =
            std::process::Command::new("apparmor_parser").args([verb, "--skip-cache"]).arg(file.path()).output();
        let output = parser.expect("run apparmor_parser");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for LoadedProfile {
    fn drop(&mut self) {
        Self::parse(&self.file, "--remove");
    }
}

#[tokio::test]
async fn apparmor_confines_by_the_default_profile_or_a_loaded_one_or_not_at_all() {
    requires!(Root, AppArmor, AppArmorParser);
    let name = format!("berth-test-{}", std::process::id());
    let _loaded = LoadedProfile::load(&name, "deny /tmp/** w,");
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "cat /proc/self/attr/current; if echo x 2>/dev/null > /tmp/x; then echo written; fi";
    let run = async |profile: Option<SecurityProfile>| {
        let mut config = shell("c", script);
        security(&mut config).apparmor = profile;
        daemon.run_to_end(&config).await.1
    };
    assert_eq!(run(None).await, "berth-default (enforce)\nwritten\n");
    assert_eq!(run(profile(ProfileType::RuntimeDefault, "")).await, "berth-default (enforce)\nwritten\n");
    assert_eq!(run(profile(ProfileType::Unconfined, "")).await, "unconfined\nwritten\n");
    for reference in [name.clone(), format!("localhost/{name}")] {
        assert_eq!(run(profile(ProfileType::Localhost, &reference)).await, format!("{name} (enforce)\n"));
    }
}

#[tokio::test]
async fn an_apparmor_profile_that_is_not_loaded_is_refused() {
    requires!(Root, AppArmor);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut wrong = container("c", &["true"]);
    security(&mut wrong).apparmor = profile(ProfileType::Localhost, "no-such-profile");
    let answer = match daemon.try_create(&pod, &wrong, &config).await {
        Ok(id) => daemon.try_start(&id).await,
        Err(status) => Err(status),
    };
    let (_, message) = refusal(answer.map(tonic::Response::new));
    assert!(message.contains("no-such-profile"), "{message}");
}
