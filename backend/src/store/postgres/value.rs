//! Values in PostgreSQL's binary format, which keeps them exactly.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use fixtures::{Type, Value};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type as SqlType, to_sql_checked};

/// Microseconds from 1970-01-01, where our instants start, to 2000-01-01, where PostgreSQL's start.
const EPOCH_US: i64 = 946_684_800_000_000;

/// A value to be bound to a column.
#[derive(Clone, Debug)]
pub(super) struct BoundValue(pub(super) Value);

/// A value as read from a column.
#[derive(Clone, Debug)]
pub(super) struct ColumnValue(pub(super) Value);

/// The column types that this module reads and writes.
fn is_known(ty: &SqlType) -> bool {
    [
        SqlType::TEXT,
        SqlType::VARCHAR,
        SqlType::INT2,
        SqlType::INT4,
        SqlType::INT8,
        SqlType::FLOAT4,
        SqlType::FLOAT8,
        SqlType::BOOL,
        SqlType::TIMESTAMPTZ,
    ]
    .contains(ty)
}

/// Whether a column of the application may have this type in the database.
pub(super) fn is_of_type(ty: Type, oid: u32) -> bool {
    let expected: &[SqlType] = match ty {
        Type::Text => &[SqlType::TEXT, SqlType::VARCHAR],
        Type::SmallInt => &[SqlType::INT2],
        Type::Integer => &[SqlType::INT4],
        Type::BigInt => &[SqlType::INT8],
        Type::Real => &[SqlType::FLOAT4],
        Type::Double => &[SqlType::FLOAT8],
        Type::Boolean => &[SqlType::BOOL],
        Type::Timestamptz => &[SqlType::TIMESTAMPTZ],
    };
    expected.iter().any(|ty| ty.oid() == oid)
}

impl ToSql for BoundValue {
    fn to_sql(&self, ty: &SqlType, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (&self.0, ty) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Text(text), &SqlType::TEXT | &SqlType::VARCHAR) => out.put_slice(text.as_bytes()),
            (Value::Int(int), &SqlType::INT2) => out.put_i16(i16::try_from(*int)?),
            (Value::Int(int), &SqlType::INT4) => out.put_i32(i32::try_from(*int)?),
            (Value::Int(int), &SqlType::INT8) => out.put_i64(*int),
            (Value::Int(int), &SqlType::BOOL) => out.put_u8(u8::from(*int != 0)),
            #[expect(clippy::cast_possible_truncation, reason = "values of type real are rounded to 4 bytes already")]
            (Value::Real(real), &SqlType::FLOAT4) => out.put_f32(*real as f32),
            (Value::Real(real), &SqlType::FLOAT8) => out.put_f64(*real),
            (Value::Time(at_us), &SqlType::TIMESTAMPTZ) => out.put_i64(match *at_us {
                i64::MIN | i64::MAX => *at_us,
                finite => finite.checked_sub(EPOCH_US).ok_or("an instant before PostgreSQL's first")?,
            }),
            (value, ty) => return Err(format!("{value:?} cannot be bound to a column of type {ty}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &SqlType) -> bool {
        is_known(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for ColumnValue {
    fn from_sql(ty: &SqlType, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let value = match *ty {
            SqlType::TEXT | SqlType::VARCHAR => Value::text(std::str::from_utf8(raw)?),
            SqlType::INT2 => Value::Int(i64::from(i16::from_be_bytes(raw.try_into()?))),
            SqlType::INT4 => Value::Int(i64::from(i32::from_be_bytes(raw.try_into()?))),
            SqlType::INT8 => Value::Int(i64::from_be_bytes(raw.try_into()?)),
            SqlType::FLOAT4 => Value::Real(f64::from(f32::from_be_bytes(raw.try_into()?))),
            SqlType::FLOAT8 => Value::Real(f64::from_be_bytes(raw.try_into()?)),
            SqlType::BOOL => Value::Int(i64::from(raw != [0])),
            SqlType::TIMESTAMPTZ => Value::Time(match i64::from_be_bytes(raw.try_into()?) {
                infinite @ (i64::MIN | i64::MAX) => infinite,
                // The last 30 years of PostgreSQL's range do not fit in ours; they all become one instant.
                finite => finite.checked_add(EPOCH_US).unwrap_or(i64::MAX).min(i64::MAX - 1),
            }),
            ref other => return Err(format!("a column of type {other} is not read here").into()),
        };
        Ok(Self(value))
    }

    fn from_sql_null(_ty: &SqlType) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &SqlType) -> bool {
        is_known(ty)
    }
}
