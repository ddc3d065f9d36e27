//! One number for what a row is: equal rows have the same one, in every run.

use fixtures::{Row, Value};

use crate::history::RowId;

/// A hash under which rows are equal as [`Value`]s are: `-0` as `0`, every NaN alike. Never 0 for a row.
pub(crate) fn row_hash(row: RowId, image: Option<&Row>) -> u64 {
    let Some(image) = image else { return 0 };
    let mut hash = mix(0x51ed_270b ^ u64::from(row), 0x9e37_79b9_7f4a_7c15);
    for value in image.iter() {
        hash = match value {
            Value::Null => mix(hash, 1),
            Value::Int(int) => mix(mix(hash, 2), int.cast_unsigned()),
            Value::Time(micros) => mix(mix(hash, 3), micros.cast_unsigned()),
            Value::Real(real) if real.is_nan() => mix(hash, 5),
            Value::Real(real) => mix(mix(hash, 4), (real + 0.0).to_bits()),
            Value::Text(text) => {
                let mut words = text.as_bytes().chunks_exact(8);
                let mut hash = mix(mix(hash, 6), text.len() as u64);
                for word in &mut words {
                    hash = mix(hash, u64::from_le_bytes(word.try_into().expect("a chunk of 8 has 8 bytes")));
                }
                let mut tail = [0; 8];
                tail[..words.remainder().len()].copy_from_slice(words.remainder());
                mix(hash, u64::from_le_bytes(tail))
            }
        };
    }
    hash.max(1)
}

/// Folds a word into a hash (the multiply-and-fold step of wyhash, public domain).
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ 0xa076_1d64_78bd_642f) * u128::from(word ^ 0xe703_7ed1_a0b4_28db);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves are folded")]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    folded.rotate_left(23) ^ hash
}
