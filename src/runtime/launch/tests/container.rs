//! Containers.

use super::*;

#[test]
fn a_container_runs_in_namespaces_and_a_root_of_its_own() {
    bed(|bed| {
        let text = "echo pid $$; cat /proc/sys/kernel/hostname; ls /; cat /proc/1/comm; pwd; echo $HOME $PATH";
        let (output, code) = bed.run(&own_pid(), &script(text));
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(code, 0, "{output}");
        assert_eq!(lines[..2], ["pid 1", "web-1"], "{output}");
        assert_eq!(lines[2..8], ["bin", "dev", "etc", "proc", "sys", "tmp"], "{output}");
        assert_eq!(lines[8..], ["sh", "/", "/root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    });
}
