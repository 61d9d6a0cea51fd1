//! The wire format: keys, varints and lengths.

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("unexpected EOF")]
    Short,
    #[error("integer overflow")]
    Overflow,
    #[error("wrong wire type")]
    WireType,
    #[error("illegal tag 0")]
    NoTag,
    #[error("invalid UTF-8")]
    Text,
    #[error("nested too deeply")]
    TooDeep,
}

/// How a value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint,
    Fixed64,
    Bytes,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// Bytes being read.
pub(super) struct Input<'b> {
    rest: &'b [u8],
}

impl<'b> Input<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next key; nothing at the end.
    pub(super) fn key(&mut self) -> Result<Option<(u32, Wire)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Bytes,
            3 => Wire::StartGroup,
            4 => Wire::EndGroup,
            5 => Wire::Fixed32,
            _ => return Err(WireError::WireType),
        };
        match u32::try_from(key >> 3) {
            Ok(0) | Err(_) => Err(WireError::NoTag),
            Ok(tag) => Ok(Some((tag, wire))),
        }
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(WireError::Short)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if shift == 63 && *byte > 1 { Err(WireError::Overflow) } else { Ok(value) };
            }
        }
        Err(WireError::Overflow)
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A whole number.
    pub(super) fn number(&mut self, wire: Wire) -> Result<i64, WireError> {
        if wire == Wire::Varint { Ok(self.varint()?.cast_signed()) } else { Err(WireError::WireType) }
    }

    /// A number of 64 bits with a point.
    pub(super) fn double(&mut self, wire: Wire) -> Result<f64, WireError> {
        if wire != Wire::Fixed64 {
            return Err(WireError::WireType);
        }
        let bytes = self.take(8)?.try_into().map_err(|_| WireError::Short)?;
        Ok(f64::from_le_bytes(bytes))
    }

    /// Bytes with their length before them.
    pub(super) fn bytes(&mut self, wire: Wire) -> Result<&'b [u8], WireError> {
        if wire != Wire::Bytes {
            return Err(WireError::WireType);
        }
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Short)?;
        self.take(length)
    }

    /// Text with its length before it.
    pub(super) fn text(&mut self, wire: Wire) -> Result<&'b str, WireError> {
        std::str::from_utf8(self.bytes(wire)?).map_err(|_| WireError::Text)
    }

    /// The next of the numbers that fill the bytes; nothing at the end.
    pub(super) fn packed(&mut self) -> Result<Option<i64>, WireError> {
        if self.rest.is_empty() { Ok(None) } else { Ok(Some(self.varint()?.cast_signed())) }
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, wire: Wire) -> Result<(), WireError> {
        match wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.take(8).map(drop),
            Wire::Bytes => self.bytes(wire).map(drop),
            Wire::Fixed32 => self.take(4).map(drop),
            // Nothing in the API has groups.
            Wire::StartGroup | Wire::EndGroup => Err(WireError::WireType),
        }
    }
}

/// Writes a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// How many bytes a varint takes.
pub(super) fn varint_size(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Writes the key of a value.
pub(super) fn put_key(out: &mut Vec<u8>, tag: u32, wire: Wire) {
    put_varint(out, u64::from(tag) << 3 | wire as u64);
}

/// Writes bytes with key and length.
pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_key(out, tag, Wire::Bytes);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a whole number with key.
pub(super) fn put_number(out: &mut Vec<u8>, tag: u32, number: i64) {
    put_key(out, tag, Wire::Varint);
    put_varint(out, number.cast_unsigned());
}

/// Writes a message with key and length, its content written by `write`.
pub(super) fn put_message<E>(
    out: &mut Vec<u8>,
    tag: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_key(out, tag, Wire::Bytes);
    // Most messages are shorter than 128 bytes, and then nothing moves.
    let start = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - start - 1;
    if let Ok(short @ ..0x80) = u8::try_from(length) {
        out[start] = short;
    } else {
        let mut prefix = Vec::with_capacity(5);
        put_varint(&mut prefix, length as u64);
        out.splice(start..=start, prefix);
    }
    Ok(())
}
