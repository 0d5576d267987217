  # Root within the container may do what root does, short of reaching the host through it.
  network,
  capability,
  file,
  unix,
  umount,
  deny mount,

  # /proc: no writing to the files at its top nor below what is neither a process nor sys.
  deny /proc/* w,
  deny /proc/{[^0-9st]*,scsi,sysvipc,tty}/** w,
  deny /proc/{sysrq-trigger,kcore,kmem,mem} rwklx,

  # Of the kernel parameters only those of System V IPC, which a container has of its own.
  deny /proc/sys/{[^k],k[^e],ke[^r]}** w,
  deny /proc/sys/kernel/{[^ms],m[^s],s[^eh],se[^m],sh[^m]}** w,

  # /sys: writing to control groups only, and no reading of what tells about the machine's firmware, power use and
  # security policy.
  deny /sys/{[^f],f[^s]}** wklx,
  deny /sys/fs/{[^c],c[^g]}** wklx,
  deny /sys/{firmware,kernel/security,devices/virtual/powercap}/** rwklx,

