"""An Arrow IPC stream from a stranger: read without trusting what it says of its size.

The bytes of a stream are bounded by the request. What could make more of them is refused before Arrow sees it:
buffers packed within the stream, and types whose values refer to one memory many times.
"""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import BadInput, TooLarge

_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2  # of the flatbuffer union MessageHeader
_MOST_DECODED = 40 * 2**20  # bytes of dictionaries' texts, written out


def read_stream(data: bytes, *, most_rows: int) -> pa.Table:
    """The table of a stream, its offsets and texts checked.

    Raises:
        BadInput: buffers are packed within the stream, or a column is of a type that no feature has.
        TooLarge: it says that it holds more than `most_rows`.
        pyarrow.ArrowException: it is no stream.
    """
    _check_messages(data, most_rows)
    table = pa.ipc.open_stream(pa.BufferReader(data)).read_all()
    for column in table.schema:
        if not _is_known(column.type):
            raise BadInput(
                "expected columns of numbers, texts, booleans, times or lists of numbers, got "
                f"{str(column.type)[:100]} in {column.name[:100]}"
            )
    table.validate(full=True)
    if sum(_decoded_bytes(column) for column in table.columns) > _MOST_DECODED:
        raise TooLarge("expected dictionaries of short texts, got more than a request may hold")
    return table


def _is_known(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type))
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
    )


def _decoded_bytes(column: pa.ChunkedArray) -> int:
    if not pa.types.is_dictionary(column.type):
        return 0
    total = 0
    for chunk in column.chunks:
        if pa.types.is_string(chunk.type.value_type) or pa.types.is_large_string(chunk.type.value_type):
            lengths = pc.fill_null(pc.binary_length(chunk.dictionary), 0).to_numpy(zero_copy_only=False)
            codes = chunk.indices.drop_null().to_numpy(zero_copy_only=False)
            total += int(lengths.astype(np.int64)[codes].sum()) if codes.size else 0
    return total


def _check_messages(data: bytes, most_rows: int) -> None:
    rows = 0
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(data))
    try:
        for message in reader:
            rows += _checked_rows(message)
            if rows > most_rows:
                raise TooLarge(f"expected at most {most_rows:,} rows a request, got more: send them in several")
    except struct.error as error:
        raise BadInput(f"expected an Arrow IPC stream, its messages cannot be read: {error}") from error


def _checked_rows(message: pa.Message) -> int:
    """The rows that a message says it holds, 0 when it is no record batch."""
    metadata = message.metadata.to_pybytes()
    root = struct.unpack_from("<I", metadata, 0)[0]
    kind_at, header_at = _field(metadata, root, 1), _field(metadata, root, 2)
    if not kind_at or not header_at or metadata[kind_at] not in (_RECORD_BATCH, _DICTIONARY_BATCH):
        return 0
    header = header_at + struct.unpack_from("<I", metadata, header_at)[0]
    is_dictionary = metadata[kind_at] == _DICTIONARY_BATCH
    if is_dictionary:
        data_at = _field(metadata, header, 1)
        if not data_at:
            return 0
        header = data_at + struct.unpack_from("<I", metadata, data_at)[0]
    if _field(metadata, header, 3):
        raise BadInput("expected buffers that are not packed: pack the whole body, Content-Encoding: zstd or gzip")
    length_at = _field(metadata, header, 0)
    length = int(struct.unpack_from("<q", metadata, length_at)[0]) if length_at else 0
    return 0 if is_dictionary else max(length, 0)


def _field(metadata: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffer table lies, 0 when it is not there.

    Source: https://flatbuffers.dev/internals (tables and vtables).
    """
    vtable = table - int(struct.unpack_from("<i", metadata, table)[0])
    if vtable < 0 or 4 + 2 * number >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset = int(struct.unpack_from("<H", metadata, vtable + 4 + 2 * number)[0])
    return table + offset if offset else 0
