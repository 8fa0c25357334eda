"""Event sources that programs attach to."""

from anybpf.hooks.capture import CaptureReader, Chunk
from anybpf.hooks.pcap import Pcap, PcapLink, Totals

__all__ = ("CaptureReader", "Chunk", "Pcap", "PcapLink", "Totals")
