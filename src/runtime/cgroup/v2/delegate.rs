//! Giving controllers down the tree: a cgroup has those that its parent's `cgroup.subtree_control` lists.

use std::path::Path;

use crate::runtime::cgroup::{Error, file};

/// Controllers that some limit or measurement needs.
const USED: &[&str] = &["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// Those of a `cgroup.controllers` that are used.
pub(super) fn wanted(available: &str) -> Vec<String> {
    available.split_whitespace().filter(|name| USED.contains(name)).map(str::to_owned).collect()
}

/// Gives `controllers` to the children of `directory`, from `root` down.
///
/// One that cannot be given (the directory has processes of its own, or is threaded) is left out: then the limit
/// that needs its files says so.
pub(super) fn to_children(root: &Path, directory: &Path, controllers: &[String]) -> Result<(), Error> {
    let control = directory.join("cgroup.subtree_control");
    let enabled = file::read(&control)?;
    let missing: Vec<&String> =
        controllers.iter().filter(|name| !enabled.split_whitespace().any(|it| it == *name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if let (true, Some(parent)) = (directory != root, directory.parent()) {
        to_children(root, parent, controllers)?;
    }
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if file::write(&control, &all.join(" ")).is_err() {
        for one in &all {
            // See above: a missing controller shows where it is needed.
            let _ = file::write(&control, one);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn controllers_that_nobody_uses_are_left_alone() {
        assert_eq!(
            wanted("cpuset cpu io memory hugetlb pids rdma misc\n"),
            ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"]
        );
        assert_eq!(wanted("\n"), [] as [&str; 0]);
    }

    #[test]
    fn what_is_missing_is_given_from_the_root_down() {
        let root = tempfile::tempdir().expect("temporary directory");
        let pod = root.path().join("pods/pod");
        fs::create_dir_all(&pod).expect("directories");
        let control = |directory: &Path| directory.join("cgroup.subtree_control");
        fs::write(control(root.path()), "cpu memory\n").expect("file");
        fs::write(control(&root.path().join("pods")), "cpu\n").expect("file");
        fs::write(control(&pod), "").expect("file");
        to_children(root.path(), &pod, &["cpu".to_owned(), "memory".to_owned()]).expect("give");
        let content = |directory: &Path| fs::read_to_string(control(directory)).expect("file");
        assert_eq!(content(root.path()), "cpu memory\n", "nothing to add");
        assert!(content(&root.path().join("pods")).starts_with("+memory"));
        assert_eq!(content(&pod), "+cpu +memory");
    }
}
