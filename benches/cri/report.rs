//! Results, and the table that they make.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use crate::budget;

/// What was measured of several engines.
#[derive(Debug, Default)]
pub(crate) struct Report {
    columns: Vec<Column>,
    /// What the kernel alone takes for a pod.
    kernel: Option<Value>,
}

/// What was measured of one engine.
#[derive(Debug)]
pub(crate) struct Column {
    engine: String,
    results: Vec<(String, Value)>,
}

/// What a measurement gave.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    /// Less is better.
    Milliseconds(f64),
    /// Less is better.
    Mebibytes(f64),
    /// More is better.
    PerSecond(f64),
}

impl Report {
    /// Begins with another engine.
    pub(crate) fn column(&mut self, engine: &str) -> &mut Column {
        let place = self.columns.len();
        self.columns.push(Column { engine: engine.to_owned(), results: Vec::new() });
        &mut self.columns[place]
    }

    /// Tells what the kernel alone takes for a pod: the median.
    pub(crate) fn set_kernel(&mut self, times: Vec<Duration>) {
        self.kernel = Some(Value::of_time(percentile(&sorted(times), 50)));
    }

    /// Prints a line a measurement and, of two engines, how much better the first is; then a line a budget.
    pub(crate) fn print(&self) {
        let Some(first) = self.columns.first() else { return };
        let mut out = io::stdout().lock();
        let mut line = |name: &str, cells: &[String]| {
            let cells: String = cells.iter().map(|cell| format!("{cell:>18}")).collect();
            let _ = writeln!(out, "{name:<52}{cells}");
        };
        let mut header: Vec<String> = self.columns.iter().map(|column| column.engine.clone()).collect();
        header.extend((self.columns.len() == 2).then(|| "times better".to_owned()));
        line("", &header);
        for (number, (name, value)) in first.results.iter().enumerate() {
            let values: Vec<Value> = self.columns.iter().map(|column| column.results[number].1).collect();
            let mut cells: Vec<String> = values.iter().map(|value| value.to_string()).collect();
            if let [_, other] = values[..] {
                cells.push(format!("{:.1}", value.times_better_than(other)));
            }
            line(name, &cells);
        }
        if let Some(kernel) = self.kernel {
            line("the kernel alone, for a pod that is ready, p50", &[kernel.to_string()]);
        }
        for line in budget::lines(first, self.columns.get(1), self.kernel) {
            let _ = writeln!(out, "{line}");
        }
    }
}

impl Column {
    /// Adds the median and the 99th percentile of some times.
    pub(crate) fn add_times(&mut self, name: &str, times: Vec<Duration>) {
        let times = sorted(times);
        for percent in [50, 99] {
            self.add(format!("{name}, p{percent}"), Value::of_time(percentile(&times, percent)));
        }
    }

    /// Adds the best of some times: for work whose repetitions are few.
    pub(crate) fn add_best_time(&mut self, name: &str, times: &[Duration]) {
        let best = times.iter().min().copied().unwrap_or_default();
        self.add(name.to_owned(), Value::of_time(best));
    }

    /// Adds a number of bytes.
    pub(crate) fn add_size(&mut self, name: &str, bytes: u64) {
        self.add(name.to_owned(), Value::Mebibytes(bytes as f64 / 1_048_576.0));
    }

    /// Adds how often something happened in a time.
    pub(crate) fn add_rate(&mut self, name: &str, count: usize, time: Duration) {
        self.add(name.to_owned(), Value::PerSecond(count as f64 / time.as_secs_f64()));
    }

    /// What a measurement gave.
    pub(crate) fn value(&self, name: &str) -> Option<Value> {
        self.results.iter().find(|(of, _)| of == name).map(|(_, value)| *value)
    }

    fn add(&mut self, name: String, value: Value) {
        // Seen at once, so that a long run is no riddle.
        let _ = writeln!(io::stderr(), "{}: {name}: {value}", self.engine);
        self.results.push((name, value));
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

impl Value {
    fn of_time(time: Duration) -> Self {
        Self::Milliseconds(time.as_secs_f64() * 1e3)
    }

    /// How many times better this is than `other`, a measurement of the same kind.
    pub(crate) fn times_better_than(self, other: Self) -> f64 {
        match (self, other) {
            (Self::PerSecond(ours), Self::PerSecond(theirs)) => ours / theirs,
            (
                Self::Milliseconds(ours) | Self::Mebibytes(ours),
                Self::Milliseconds(theirs) | Self::Mebibytes(theirs),
            ) => theirs / ours,
            _ => f64::NAN,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Milliseconds(value) => write!(f, "{value:.2} ms"),
            Self::Mebibytes(value) => write!(f, "{value:.2} MiB"),
            Self::PerSecond(value) => write!(f, "{value:.1} /s"),
        }
    }
}
