//! `berth stats`

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    Session,
    error::{Answer as _, Error},
    json, lookup,
    table::Table,
    units,
};
use crate::wire::{ContainerStats, ContainerStatsFilter, ListContainerStatsRequest, UInt64Value};

/// Over how long CPU use is measured.
const INTERVAL: Duration = Duration::from_millis(500);

/// Print what running containers use.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// The containers [default: all that run]
    containers: Vec<String>,
}

impl Stats {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let mut wanted = Vec::new();
        for given in &self.containers {
            wanted.push(lookup::container(&mut session.engine, given).await?.id);
        }
        let before = sample(session, &wanted).await?;
        if session.json {
            json::print(&json::array(&before))?;
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(INTERVAL).await;
        let after = sample(session, &wanted).await?;
        table(&before, &after).print()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn sample(session: &mut Session, wanted: &[String]) -> Result<Vec<ContainerStats>, Error> {
    // One filter names one container: several are asked for with all others.
    let id = if let [one] = wanted { one.clone() } else { String::new() };
    let filter = ContainerStatsFilter { id, ..Default::default() };
    let request = ListContainerStatsRequest { filter: Some(filter) };
    let mut stats =
        session.engine.runtime.list_container_stats(request).await.during("ask for the containers' usage")?.stats;
    stats.retain(|stats| wanted.is_empty() || wanted.iter().any(|id| id == self::id(stats)));
    Ok(stats)
}

fn table(before: &[ContainerStats], after: &[ContainerStats]) -> Table {
    let mut table = Table::new(&["CONTAINER ID", "NAME", "CPU", "MEMORY", "SWAP", "WRITTEN"]);
    for stats in after {
        let earlier = before.iter().find(|earlier| id(earlier) == id(stats));
        let metadata = stats.attributes.as_ref().and_then(|attributes| attributes.metadata.as_ref());
        let memory = stats.memory.as_ref();
        table.row([
            lookup::short(id(stats)),
            metadata.map_or("", |metadata| &metadata.name).to_owned(),
            earlier
                .and_then(|earlier| cpu_share(earlier, stats))
                .map_or("-".to_owned(), |share| format!("{share:.1}%")),
            size(memory.and_then(|memory| memory.working_set_bytes.as_ref())),
            size(stats.swap.as_ref().and_then(|swap| swap.swap_usage_bytes.as_ref())),
            size(stats.writable_layer.as_ref().and_then(|layer| layer.used_bytes.as_ref())),
        ]);
    }
    table
}

fn id(stats: &ContainerStats) -> &str {
    stats.attributes.as_ref().map_or("", |attributes| &attributes.id)
}

/// CPU time used between two samples, in percent of one CPU. Samples that the engine took at one moment say nothing.
fn cpu_share(before: &ContainerStats, after: &ContainerStats) -> Option<f64> {
    let (before, after) = (before.cpu.as_ref()?, after.cpu.as_ref()?);
    let elapsed = after.timestamp - before.timestamp;
    let used = |cpu: &crate::wire::CpuUsage| cpu.usage_core_nano_seconds.as_ref().map(|used| used.value);
    let used = used(after)?.saturating_sub(used(before)?);
    (elapsed > 0).then(|| used as f64 / elapsed as f64 * 100.0)
}

fn size(value: Option<&UInt64Value>) -> String {
    value.map_or("-".to_owned(), |value| units::bytes(value.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ContainerAttributes, CpuUsage};

    fn sample(id: &str, at: i64, used: u64) -> ContainerStats {
        ContainerStats {
            attributes: Some(ContainerAttributes { id: id.into(), ..Default::default() }),
            cpu: Some(CpuUsage {
                timestamp: at,
                usage_core_nano_seconds: Some(UInt64Value { value: used }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn cpu_use_is_a_share_of_the_time_between_samples() {
        assert_eq!(cpu_share(&sample("a", 1_000, 0), &sample("a", 2_000, 1_500)), Some(150.0));
        assert_eq!(cpu_share(&sample("a", 1_000, 0), &sample("a", 1_000, 0)), None);
    }

    #[test]
    fn a_container_that_was_not_there_before_has_no_cpu_share() {
        let text = table(&[], &[sample("a", 1, 1)]).text();
        assert!(text.lines().nth(1).expect("a row").contains(" - "), "{text}");
    }
}
