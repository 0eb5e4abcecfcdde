"""Readers of the formats in which people bring their texts, and the writer of the export."""

from mnemos.text.formats.detect import FORMATS, Format, detect, read
from mnemos.text.formats.jsonlines import read_export, read_export_header, write_export, write_export_stream
from mnemos.text.formats.record import Notice, Place, Record

__all__ = [
    "FORMATS", "Format", "Notice", "Place", "Record", "detect", "read", "read_export", "read_export_header", "write_export",
    "write_export_stream",
]
