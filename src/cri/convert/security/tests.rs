use super::*;

#[test]
fn namespaces_come_back_as_they_were_asked_for() {
    let mapping = wire::IdMapping { host_id: 65536, container_id: 0, length: 65536 };
    let user = wire::UserNamespace { mode: 0, uids: vec![mapping], gids: vec![mapping] };
    let options =
        wire::NamespaceOption { network: 2, pid: 3, ipc: 0, target_id: "abc".to_owned(), userns_options: Some(user) };
    let read = namespaces_from_wire(options.clone()).expect("fine");
    assert_eq!(read.pid, NamespaceMode::Target);
    assert_eq!(namespaces_to_wire(&read), options);
}

#[test]
fn namespaces_that_cannot_be_are_refused() {
    let user = |mode| Some(wire::UserNamespace { mode, ..Default::default() });
    let refused = [
        wire::NamespaceOption { network: 1, ..Default::default() },
        wire::NamespaceOption { ipc: 3, ..Default::default() },
        wire::NamespaceOption { pid: 4, ..Default::default() },
        wire::NamespaceOption { pid: 3, ..Default::default() },
        wire::NamespaceOption { userns_options: user(1), ..Default::default() },
        wire::NamespaceOption { userns_options: user(3), ..Default::default() },
    ];
    for options in refused {
        namespaces_from_wire(options.clone()).expect_err(&format!("{options:?}"));
    }
    let target = wire::NamespaceOption { pid: 3, target_id: "abc".to_owned(), ..Default::default() };
    let pod = wire::LinuxSandboxSecurityContext { namespace_options: Some(target), ..Default::default() };
    pod_from_wire(pod).expect_err("only a container joins another one");
}

fn container(context: wire::LinuxContainerSecurityContext) -> Result<ContainerSecurity, Invalid> {
    container_from_wire(context)
}

fn security_profile(profile_type: i32, localhost_ref: &str) -> Option<wire::SecurityProfile> {
    Some(wire::SecurityProfile { profile_type, localhost_ref: localhost_ref.to_owned() })
}

#[test]
fn an_absent_seccomp_profile_is_not_the_default_one() {
    let seccomp = |profile| {
        container(wire::LinuxContainerSecurityContext { seccomp: profile, ..Default::default() }).map(|s| s.seccomp)
    };
    assert_eq!(seccomp(None), Ok(None));
    assert_eq!(seccomp(security_profile(0, "")), Ok(Some(Profile::RuntimeDefault)));
    assert_eq!(seccomp(security_profile(1, "")), Ok(Some(Profile::Unconfined)));
    assert_eq!(seccomp(security_profile(2, "/p.json")), Ok(Some(Profile::Localhost("/p.json".to_owned()))));
    for refused in [security_profile(2, ""), security_profile(2, "p.json"), security_profile(3, "")] {
        seccomp(refused).expect_err("no profile");
    }
}

#[test]
#[expect(deprecated, reason = "what older callers send is the subject")]
fn the_old_words_count_only_when_the_new_messages_are_absent() {
    let old =
        |word: &str| wire::LinuxContainerSecurityContext { apparmor_profile: word.to_owned(), ..Default::default() };
    let apparmor = |context| container(context).map(|s| s.apparmor);
    assert_eq!(apparmor(old("")), Ok(None));
    assert_eq!(apparmor(old("runtime/default")), Ok(Some(Profile::RuntimeDefault)));
    assert_eq!(apparmor(old("localhost/mine")), Ok(Some(Profile::Localhost("mine".to_owned()))));
    for refused in ["localhost/", "mine", "localhost"] {
        apparmor(old(refused)).expect_err(refused);
    }
    let both = wire::LinuxContainerSecurityContext { apparmor: security_profile(1, ""), ..old("localhost/mine") };
    assert_eq!(apparmor(both), Ok(Some(Profile::Unconfined)));
    for named in ["mine", "localhost/mine"] {
        let both =
            wire::LinuxContainerSecurityContext { apparmor: security_profile(2, named), ..old("localhost/other") };
        assert_eq!(apparmor(both), Ok(Some(Profile::Localhost("mine".to_owned()))), "{named}");
    }
    let empty = wire::LinuxContainerSecurityContext { apparmor: security_profile(2, "localhost/"), ..old("") };
    apparmor(empty).expect_err("no name");
    let seccomp = wire::LinuxContainerSecurityContext {
        seccomp_profile_path: "localhost//a.json".to_owned(),
        ..Default::default()
    };
    assert_eq!(container(seccomp).map(|s| s.seccomp), Ok(Some(Profile::Localhost("/a.json".to_owned()))));
}

#[test]
fn a_containers_group_needs_a_user_but_a_pods_does_not() {
    let id = |value| Some(wire::Int64Value { value });
    let refused = [
        wire::LinuxContainerSecurityContext { run_as_group: id(5), ..Default::default() },
        wire::LinuxContainerSecurityContext { run_as_user: id(-1), ..Default::default() },
        wire::LinuxContainerSecurityContext { supplemental_groups: vec![0, 1 << 40], ..Default::default() },
        wire::LinuxContainerSecurityContext { masked_paths: vec!["proc/kcore".to_owned()], ..Default::default() },
        wire::LinuxContainerSecurityContext { supplemental_groups_policy: 2, ..Default::default() },
    ];
    for context in refused {
        container(context.clone()).expect_err(&format!("{context:?}"));
    }
    let named = wire::LinuxContainerSecurityContext {
        run_as_username: "www".to_owned(),
        run_as_group: id(5),
        ..Default::default()
    };
    assert_eq!(container(named).map(|s| s.run_as_group), Ok(Some(5)));
    let pod = wire::LinuxSandboxSecurityContext { run_as_group: id(5), ..Default::default() };
    pod_from_wire(pod).expect("Kubernetes lets a pod give only a group");
}
