//! Stop signals. The CRI numbers them in alphabetical order, not as Linux does.

use super::check::{Invalid, enumeration};
use crate::{types::Signal, wire};

/// A stop signal that was asked for; `None` is the image's or the runtime's.
pub(crate) fn from_wire(number: i32) -> Result<Option<Signal>, Invalid> {
    let signal: wire::Signal = enumeration("stop_signal", number)?;
    if signal == wire::Signal::RuntimeDefault {
        return Ok(None);
    }
    let name = linux_name(signal.as_str_name());
    name.parse().map(Some).map_err(|_| Invalid::new("stop_signal", format!("{name} is no Linux signal")))
}

/// The CRI's number of a signal; those that it has no name for become the runtime's default.
pub(crate) fn to_wire(signal: Signal) -> wire::Signal {
    let name = signal.to_string().replace('+', "PLUS").replace('-', "MINUS");
    let from_the_top = 64 - signal.number();
    let name = match from_the_top {
        0 => "SIGRTMAX".to_owned(),
        // SIGRTMIN+16 and above are only named from the other end.
        1..=14 => format!("SIGRTMAXMINUS{from_the_top}"),
        _ => name,
    };
    wire::Signal::from_str_name(&name).unwrap_or(wire::Signal::RuntimeDefault)
}

/// `SIGRTMINPLUS3` is `SIGRTMIN+3`.
fn linux_name(name: &str) -> String {
    name.replace("PLUS", "+").replace("MINUS", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_of_the_wire_has_its_linux_number_and_comes_back() {
        for number in 1..=65 {
            let signal = from_wire(number).expect("known").expect("not the default");
            let back = from_wire(to_wire(signal) as i32).expect("known");
            assert_eq!(back, Some(signal), "{number}");
        }
        for (wire, linux) in [
            (wire::Signal::Sigabrt, 6),
            (wire::Signal::Sigterm, 15),
            (wire::Signal::Sigkill, 9),
            (wire::Signal::Sigusr1, 10),
            (wire::Signal::Sigrtmin, 34),
            (wire::Signal::Sigrtminplus3, 37),
            (wire::Signal::Sigrtminplus15, 49),
            (wire::Signal::Sigrtmaxminus14, 50),
            (wire::Signal::Sigrtmax, 64),
        ] {
            assert_eq!(from_wire(wire as i32).expect("known").map(Signal::number), Some(linux));
        }
    }

    #[test]
    fn the_default_is_none_and_unknown_numbers_are_refused() {
        assert_eq!(from_wire(0), Ok(None));
        for unknown in [-1, 66, i32::MAX] {
            from_wire(unknown).expect_err("unknown");
        }
        let unnamed = Signal::try_from(32).expect("a signal of the C library's own");
        assert_eq!(to_wire(unnamed), wire::Signal::RuntimeDefault);
    }
}
