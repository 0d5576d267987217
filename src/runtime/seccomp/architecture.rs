//! System call numbers by name.

use std::{collections::HashMap, sync::OnceLock};

use syscalls::{aarch64, arm, x86, x86_64};

/// The calls of one of the crate's tables, with their numbers. Its iterators leave a table's last call out.
macro_rules! calls {
    ($table:ident) => {
        $table::Sysno::iter().chain([$table::Sysno::last()]).map(|call| (call.name(), call.id().cast_unsigned()))
    };
}

/// A system call table. Two of them, x86_64's and x32's, come with the same `AUDIT_ARCH_*` value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
}

/// Set in the numbers of x32, whose programs run on x86_64 with 32-bit pointers.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// x32's own numbers for calls whose arguments differ from x86_64's (`arch/x86/entry/syscalls/syscall_64.tbl`).
const X32_ONLY: &[(&str, u32)] = &[
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// Calls of 32-bit ARM alone (`arch/arm/include/uapi/asm/unistd.h`), and second names.
const ARM_ONLY: &[(&str, u32)] =
    &[("breakpoint", 0xf_0001), ("cacheflush", 0xf_0002), ("set_tls", 0xf_0005), ("sync_file_range2", 341)];

/// Profiles call it by x86_64's name.
const AARCH64_SECOND_NAMES: &[(&str, u32)] = &[("newfstatat", 79)];

impl Abi {
    /// Tables that this machine's kernel can serve, its own first.
    pub(super) const fn native() -> &'static [Self] {
        if cfg!(target_arch = "aarch64") { &[Self::Aarch64, Self::Arm] } else { &[Self::X86_64, Self::X32, Self::X86] }
    }

    /// Name in profiles.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X32 => "SCMP_ARCH_X32",
            Self::X86 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// Name in the conditions of Docker's profiles.
    pub(super) const fn condition_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X32 => "x32",
            Self::X86 => "x86",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// `AUDIT_ARCH_*` (`include/uapi/linux/audit.h`).
    pub(super) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The number of a call, if this table has it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        self.table().get(name).copied()
    }

    fn table(self) -> &'static HashMap<&'static str, u32> {
        static TABLES: [OnceLock<HashMap<&'static str, u32>>; 5] = [const { OnceLock::new() }; 5];
        TABLES[self as usize].get_or_init(|| match self {
            Self::X86_64 => calls!(x86_64).collect(),
            Self::X32 => {
                let shared = Self::X86_64.table().iter().map(|(name, number)| (*name, *number));
                shared.chain(X32_ONLY.iter().copied()).map(|(name, number)| (name, number | X32_BIT)).collect()
            }
            Self::X86 => calls!(x86).collect(),
            Self::Aarch64 => calls!(aarch64).chain(AARCH64_SECOND_NAMES.iter().copied()).collect(),
            Self::Arm => calls!(arm).chain(ARM_ONLY.iter().copied()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_are_found() {
        for (abi, name, number) in [
            (Abi::X86_64, "read", 0),
            (Abi::X86_64, "newfstatat", 262),
            (Abi::X86, "socketcall", 102),
            (Abi::X32, "read", X32_BIT),
            (Abi::X32, "execve", X32_BIT | 520),
            (Abi::Aarch64, "newfstatat", 79),
            (Abi::Aarch64, "clone3", 435),
            (Abi::Arm, "set_tls", 0xf_0005),
            (Abi::X86_64, "file_setattr", 469),
            (Abi::Aarch64, "file_setattr", 469),
        ] {
            assert_eq!(abi.number(name), Some(number), "{name} of {}", abi.name());
        }
        assert_eq!(Abi::X86_64.number("socketcall"), None);
        assert_eq!(Abi::X86_64.number("nonsense"), None);
    }
}
