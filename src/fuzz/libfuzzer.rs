//! A long run of one fuzz target under libFuzzer; `hack/fuzz` builds and starts it. Needs the feature `fuzzing`.
#![no_main]

use std::sync::LazyLock;

use berth::fuzz::Target;
use libfuzzer_sys::fuzz_target;

/// The target that `BERTH_FUZZ_TARGET` names.
static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    // libFuzzer's hook ends the process, also for panics that are caught, as the state database's are. A panic that
    // leaves the target still ends it.
    let _ = std::panic::take_hook();
    let name = std::env::var("BERTH_FUZZ_TARGET").unwrap_or_default();
    berth::fuzz::target(&name).unwrap_or_else(|| panic!("BERTH_FUZZ_TARGET={name:?} is no target"))
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
