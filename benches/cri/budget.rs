//! What the engine is to reach, and whether it did.

use crate::report::{Column, Value};

/// What is wanted of one measurement.
struct Budget {
    measurement: &'static str,
    wanted: Wanted,
}

enum Wanted {
    /// So many times better than the other engine.
    TimesBetter(f64),
    /// No more than so many times what the kernel alone takes.
    TimesTheKernel(f64),
    /// No more than so many MiB.
    Mebibytes(f64),
}

const BUDGETS: [Budget; 12] = [
    Budget { measurement: "pod ready (run, create, start), p50", wanted: Wanted::TimesBetter(10.0) },
    Budget { measurement: "pod ready (run, create, start), p50", wanted: Wanted::TimesTheKernel(3.0) },
    Budget { measurement: "pods by 8 clients", wanted: Wanted::TimesBetter(10.0) },
    Budget { measurement: "pod gone (stop, remove), p50", wanted: Wanted::TimesBetter(10.0) },
    Budget { measurement: "ExecSync of true, p50", wanted: Wanted::TimesBetter(6.0) },
    Budget { measurement: "memory per pod, PSS", wanted: Wanted::Mebibytes(0.5) },
    Budget { measurement: "daemon idle, PSS", wanted: Wanted::Mebibytes(15.0) },
    Budget { measurement: "ListContainerStats, p50", wanted: Wanted::TimesBetter(20.0) },
    Budget { measurement: "pull of 20 layers of 1 MiB", wanted: Wanted::TimesBetter(2.0) },
    Budget { measurement: "pull of 20,000 files in a layer", wanted: Wanted::TimesBetter(2.0) },
    Budget { measurement: "pull of 256 MiB in 4 layers", wanted: Wanted::TimesBetter(2.0) },
    Budget { measurement: "peak of the daemon's memory in pulls", wanted: Wanted::Mebibytes(64.0) },
];

/// A line a budget: what was reached, what is wanted, and whether it is held. What was not measured has no line.
pub(crate) fn lines(ours: &Column, other: Option<&Column>, kernel: Option<Value>) -> Vec<String> {
    BUDGETS.iter().filter_map(|budget| budget.line(ours, other, kernel)).collect()
}

impl Budget {
    fn line(&self, ours: &Column, other: Option<&Column>, kernel: Option<Value>) -> Option<String> {
        let value = ours.value(self.measurement)?;
        let (reached, wanted, held) = match self.wanted {
            Wanted::TimesBetter(wanted) => {
                let reached = value.times_better_than(other?.value(self.measurement)?);
                (format!("{reached:.1} times better"), format!("{wanted} times"), reached >= wanted)
            }
            Wanted::TimesTheKernel(wanted) => {
                let reached = kernel?.times_better_than(value);
                (format!("{reached:.1} times the kernel"), format!("{wanted} times"), reached <= wanted)
            }
            Wanted::Mebibytes(wanted) => {
                let Value::Mebibytes(reached) = value else { return None };
                (format!("{reached:.1} MiB"), format!("{wanted} MiB"), reached <= wanted)
            }
        };
        let verdict = if held { "held" } else { "MISSED" };
        Some(format!("{:<52}{reached:>24}{wanted:>14}  {verdict}", self.measurement))
    }
}
