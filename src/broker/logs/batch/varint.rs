//! Signed varints of records: zigzag, groups of seven bits, lowest first. Part of `broker/logs/batch`.

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The bytes that [`put`] makes of `value`.
pub(crate) fn size(value: i64) -> usize {
    let rest = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (rest | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a varint off the front of `input`; `None` if it is cut short or exceeds 64 bits.
pub(crate) fn take(input: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(unzigzag(value));
        }
    }
    None
}

/// The number whose zigzag form is `value`.
#[inline]
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::{put, size, take};

    proptest::proptest! {
        #[test]
        fn what_was_put_is_taken(value: i64) {
            let mut out = Vec::new();
            put(&mut out, value);
            proptest::prop_assert_eq!(out.len(), size(value));
            proptest::prop_assert_eq!(take(&mut out.as_slice()), Some(value));
            out.pop();
            proptest::prop_assert_eq!(take(&mut out.as_slice()), None);
        }
    }

    #[test]
    fn small_numbers_take_one_byte() {
        for value in [0, -1, 1, 63, -64] {
            assert_eq!(size(value), 1);
        }
        assert_eq!(size(64), 2);
    }
}
