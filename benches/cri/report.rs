//! Results, and the table that they make.

use std::{
    io::{self, Write as _},
    time::Duration,
};

/// What was measured of several engines.
#[derive(Debug, Default)]
pub(crate) struct Report {
    columns: Vec<Column>,
}

/// What was measured of one engine.
#[derive(Debug)]
pub(crate) struct Column {
    engine: String,
    results: Vec<(String, Value)>,
}

#[derive(Debug, Clone, Copy)]
enum Value {
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

    /// Prints a line a measurement and, of two engines, how much better the first is.
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
    }
}

impl Column {
    /// Adds the median and the 99th percentile of some times.
    pub(crate) fn add_times(&mut self, name: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        let percentile = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        self.add(format!("{name}, p50"), Value::Milliseconds(percentile(50).as_secs_f64() * 1e3));
        self.add(format!("{name}, p99"), Value::Milliseconds(percentile(99).as_secs_f64() * 1e3));
    }

    /// Adds the best of some times: for work whose repetitions are few.
    pub(crate) fn add_best_time(&mut self, name: &str, times: &[Duration]) {
        let best = times.iter().min().copied().unwrap_or_default();
        self.add(name.to_owned(), Value::Milliseconds(best.as_secs_f64() * 1e3));
    }

    /// Adds a number of bytes.
    pub(crate) fn add_size(&mut self, name: &str, bytes: u64) {
        self.add(name.to_owned(), Value::Mebibytes(bytes as f64 / 1_048_576.0));
    }

    /// Adds how often something happened in a time.
    pub(crate) fn add_rate(&mut self, name: &str, count: usize, time: Duration) {
        self.add(name.to_owned(), Value::PerSecond(count as f64 / time.as_secs_f64()));
    }

    fn add(&mut self, name: String, value: Value) {
        // Seen at once, so that a long run is no riddle.
        let _ = writeln!(io::stderr(), "{}: {name}: {value}", self.engine);
        self.results.push((name, value));
    }
}

impl Value {
    fn times_better_than(self, other: Self) -> f64 {
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
