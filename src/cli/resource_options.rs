//! The flags that say how much a container may use.

use clap::Args;

use super::units::parse_bytes;
use crate::{types::size::plain_number, wire::LinuxContainerResources};

/// Length of a CFS period, µs; the kernel's default.
const CPU_PERIOD: i64 = 100_000;

/// Flags of `run` and `update`.
#[derive(Debug, Default, Args)]
pub(super) struct ResourceOptions {
    /// Most memory, like 64m
    #[arg(short = 'm', long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<i64>,
    /// Most memory and swap together
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, requires = "memory")]
    memory_swap: Option<i64>,
    /// Most CPU time, like 1.5 CPUs
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    cpus: Option<i64>,
    /// CPU weight; 1024 is the default
    #[arg(long, value_name = "WEIGHT")]
    cpu_shares: Option<i64>,
    /// CPUs it may use, like 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
}

impl ResourceOptions {
    /// What the flags ask for; 0 and empty texts stand for what was not given.
    pub(super) fn resources(&self) -> LinuxContainerResources {
        LinuxContainerResources {
            cpu_period: self.cpus.map_or(0, |_| CPU_PERIOD),
            cpu_quota: self.cpus.unwrap_or(0),
            cpu_shares: self.cpu_shares.unwrap_or(0),
            memory_limit_in_bytes: self.memory.unwrap_or(0),
            memory_swap_limit_in_bytes: self.memory_swap.unwrap_or(0),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            ..Default::default()
        }
    }
}

/// Reads a number of CPUs as a quota in [`CPU_PERIOD`]; the kernel takes no less than 1 ms.
fn parse_cpus(text: &str) -> Result<i64, String> {
    let quota = plain_number(text).map(|cpus| cpus * CPU_PERIOD as f64);
    match quota {
        Some(quota) if (1_000.0..1e12).contains(&quota) => Ok(quota.round() as i64),
        _ => Err("must be a number of CPUs from 0.01".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_a_quota() {
        assert_eq!(parse_cpus("1.5"), Ok(150_000));
        assert!(parse_cpus("0").is_err() && parse_cpus("-1").is_err() && parse_cpus("inf").is_err());
    }
}
