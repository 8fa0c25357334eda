"""eBPF that runs anywhere: Windows, macOS and Linux, with no kernel, driver or root."""
