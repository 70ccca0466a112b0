//! Messages of protobuf as trees, whatever their schema: what is changed has lengths that fit still.

use super::Random;

#[derive(Clone, Debug)]
enum Value {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

type Field = (u32, Value);

/// The message with a few changes; `None` if these are no bytes of a message. `names` may stand where short texts stand.
pub fn mutate(bytes: &[u8], seed: u32, names: &[&str]) -> Option<Vec<u8>> {
    let mut fields = message(bytes, 0)?;
    let random = &mut Random::new(seed);
    for _ in 0..1 + random.below(3) {
        let donor = pick(&fields, random);
        change(&mut fields, donor.as_ref(), random, names);
    }
    let mut out = vec![];
    encode(&fields, &mut out);
    Some(out)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..10 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(7 * i)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn message(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = u32::try_from(key >> 3).ok().filter(|n| (1..1000).contains(n))?;
        let mut take = |n: usize| {
            let (taken, rest) = bytes.split_at_checked(n)?;
            bytes = rest;
            Some(taken)
        };
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(take(8)?.try_into().ok()?),
            5 => Value::Fixed32(take(4)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (taken, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                let text = taken.iter().all(|b| (0x20..0x7f).contains(b));
                let inner = if text || depth > 12 { None } else { message(taken, depth + 1) };
                inner.map_or_else(|| Value::Bytes(taken.to_vec()), Value::Message)
            }
            _ => return None,
        };
        fields.push((number, value));
    }
    Some(fields)
}

fn encode(fields: &[Field], out: &mut Vec<u8>) {
    fn put(mut value: u64, out: &mut Vec<u8>) {
        while value > 0x7f {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    for (number, value) in fields {
        let key = u64::from(*number) << 3;
        match value {
            Value::Varint(v) => {
                put(key, out);
                put(*v, out);
            }
            Value::Fixed64(v) => {
                put(key | 1, out);
                out.extend(v);
            }
            Value::Fixed32(v) => {
                put(key | 5, out);
                out.extend(v);
            }
            Value::Bytes(v) => {
                put(key | 2, out);
                put(v.len() as u64, out);
                out.extend(v);
            }
            Value::Message(fields) => {
                let mut inner = vec![];
                encode(fields, &mut inner);
                put(key | 2, out);
                put(inner.len() as u64, out);
                out.extend(inner);
            }
        }
    }
}

/// A field from anywhere in the tree.
fn pick(fields: &[Field], random: &mut Random) -> Option<Field> {
    let (number, value) = fields.get(random.below(fields.len()))?;
    if let Value::Message(inner) = value {
        if random.below(4) > 0 {
            return pick(inner, random);
        }
    }
    Some((*number, value.clone()))
}

fn change(fields: &mut Vec<Field>, donor: Option<&Field>, random: &mut Random, names: &[&str]) {
    let (i, j) = (random.below(fields.len()), random.below(fields.len()));
    if let Some((_, Value::Message(inner))) = fields.get_mut(i) {
        if random.below(6) > 0 {
            return change(inner, donor, random, names);
        }
    }
    if fields.is_empty() {
        return fields.extend(donor.cloned());
    }
    match random.below(8) {
        0 => drop(fields.remove(i)),
        1 => fields.insert(j, fields[i].clone()),
        2 => fields.swap(i, j),
        3 => {
            // What is of the same kind fits best.
            if let Some(donor) = donor {
                let number = fields[i].0;
                fields[i] = (number, donor.1.clone());
            }
        }
        _ => match &mut fields[i].1 {
            Value::Varint(v) => *v = random.number() as u64,
            Value::Fixed32(v) => *v = random.pick(&[0f32, 1.0, -1.0, 0.5, 2.0, 1e30, f32::NAN, f32::INFINITY]).to_le_bytes(),
            Value::Fixed64(v) => *v = random.pick(&[0f64, 1.0, -1.0, 0.5, 1e300, f64::NAN]).to_le_bytes(),
            Value::Bytes(v) => match (random.below(3), v.len()) {
                (0, 1..40) if v.iter().all(|b| b.is_ascii_alphanumeric()) => *v = random.pick(names).as_bytes().to_vec(),
                // Numbers of a tensor, in 8 bytes or 4.
                (1, n @ 8..) if n % 8 == 0 => {
                    let at = random.below(n / 8) * 8;
                    v[at..at + 8].copy_from_slice(&random.number().to_le_bytes());
                }
                (_, n @ 4..) if n % 4 == 0 => {
                    let at = random.below(n / 4) * 4;
                    v[at..at + 4].copy_from_slice(&(random.number() as i32).to_le_bytes());
                }
                (_, n @ 1..) => v[random.below(n)] = random.below(256) as u8,
                _ => {
                    if let Some((_, Value::Bytes(other))) = donor {
                        v.clone_from(other);
                    }
                }
            },
            Value::Message(inner) => change(inner, donor, random, names),
        },
    }
}
