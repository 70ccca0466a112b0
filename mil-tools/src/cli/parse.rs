//! How options of `mil convert` are written.

use mil_core::{ir::feature::ColorSpace, types::Domain};
use mil_tools::import::{ImageInput, InputShape, Normalization, Rename};

/// `x=1,3,64..=512,[224|384]`; nothing after `=` for a scalar.
pub(super) fn input(text: &str) -> Result<InputShape, String> {
    let expected =
        || "expected the name of an input and its sizes: x=1,3,224,224, x=1,3,64..=512 or x=1,3,[224|384]".to_string();
    let (name, sizes) = text.rsplit_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(expected)?;
    // The `=` of a range is not the one behind the name.
    let (name, sizes) = match text.find("..=") {
        Some(range) => text[..range].rsplit_once('=').map(|(n, _)| (n, &text[n.len() + 1..])).ok_or_else(expected)?,
        None => (name, sizes),
    };
    let sizes = sizes.split(',').filter(|_| !sizes.is_empty()).map(|s| size(s.trim())).collect::<Option<_>>();
    let sizes = sizes.filter(|_| !name.is_empty()).ok_or_else(expected)?;
    Ok(InputShape { name: name.to_string(), sizes })
}

/// `224`, `64..=512`, `[224|384]`.
fn size(text: &str) -> Option<Domain> {
    let number = |s: &str| s.trim().parse::<i64>().ok().filter(|n| *n >= 1);
    if let Some(list) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let sizes = list.split('|').map(number).collect::<Option<Vec<_>>>()?;
        return Some(match sizes[..] {
            [one] => Domain::Range { min: one, max: Some(one) },
            _ => Domain::OneOf(sizes),
        });
    }
    let (min, max) = match text.split_once("..=") {
        Some((min, max)) => (number(min)?, number(max)?),
        None => number(text).map(|n| (n, n))?,
    };
    (min <= max).then_some(Domain::Range { min, max: Some(max) })
}

/// More than f32 itself may differ, and less than all.
pub(super) fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|t| (1e-4..1.0).contains(t));
    number.ok_or_else(|| "expected a number from 0.0001 to 1: 0.01".to_string())
}

/// `axes=0,2`.
pub(super) fn constant(text: &str) -> Result<(String, Vec<f64>), String> {
    let expected = || "expected the name of an input and numbers: axes=0,2".to_string();
    let (name, numbers) = text.rsplit_once('=').filter(|(n, _)| !n.is_empty()).ok_or_else(expected)?;
    let numbers = numbers.split(',').filter(|_| !numbers.is_empty()).map(|s| s.trim().parse());
    Ok((name.to_string(), numbers.collect::<Result<_, _>>().map_err(|_| expected())?))
}

/// `x:rgb,scale=1/127.5,bias=-1`, or without the name.
pub(super) fn image(text: &str) -> Result<ImageInput, String> {
    let expected = || "expected rgb, bgr or gray, as x:rgb, or x:rgb,scale=0.0078125,bias=-1/-1/-1".to_string();
    let (input, how) = named(text);
    let mut parts = how.split(',');
    let color = match parts.next().unwrap_or_default().trim() {
        "rgb" => ColorSpace::Rgb,
        "bgr" => ColorSpace::Bgr,
        "gray" | "grey" => ColorSpace::Grayscale,
        _ => return Err(expected()),
    };
    let mut image = ImageInput { input, color, scale: 1.0, bias: vec![] };
    for part in parts {
        match part.split_once('=') {
            Some(("scale", n)) => image.scale = quotient(n).ok_or_else(expected)?,
            Some(("bias", n)) => image.bias = numbers(n).ok_or_else(expected)?,
            _ => return Err(expected()),
        }
    }
    Ok(image)
}

/// `imagenet`, or `mean=.485/.456/.406,std=.229`, perhaps with a name before it.
pub(super) fn normalization(text: &str) -> Result<Normalization, String> {
    let expected = || "expected imagenet, or mean=0.485/0.456/0.406,std=0.229/0.224/0.225, as x:imagenet".to_string();
    let (input, how) = named(text);
    if how.trim() == "imagenet" {
        return Ok(Normalization::imagenet(input));
    }
    let (mut mean, mut std) = (None, None);
    for part in how.split(',') {
        match part.trim().split_once('=') {
            Some(("mean", n)) if mean.is_none() => mean = Some(numbers(n).ok_or_else(expected)?),
            Some(("std", n)) if std.is_none() => std = Some(numbers(n).ok_or_else(expected)?),
            _ => return Err(expected()),
        }
    }
    let (mean, std) = (mean.unwrap_or_else(|| vec![0.0]), std.unwrap_or_else(|| vec![1.0]));
    if std.contains(&0.0) {
        return Err("a std of 0 leaves nothing of the pixels".into());
    }
    Ok(Normalization { input, mean, std, rgb: false })
}

/// `old=new`, or `new`.
pub(super) fn rename(text: &str) -> Result<Rename, String> {
    let (from, to) = match text.rsplit_once('=') {
        Some((from, to)) => (Some(from.to_string()), to),
        None => (None, text),
    };
    match to.is_empty() || from.as_deref() == Some("") {
        true => Err("expected a name, or an old and a new one: logits=probs".into()),
        false => Ok(Rename { from, to: to.to_string() }),
    }
}

/// A name, which may have colons itself, and what stands behind its last one.
fn named(text: &str) -> (Option<String>, &str) {
    match text.rsplit_once(':') {
        Some((name, how)) => (Some(name.to_string()), how),
        None => (None, text),
    }
}

/// `-1`, or one per channel: `-1/-0.5/0`.
fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split('/').map(|n| n.trim().parse::<f64>().ok().filter(|n| n.is_finite())).collect()
}

/// `0.5`, or `1/255`.
fn quotient(text: &str) -> Option<f64> {
    let n = match numbers(text)?[..] {
        [one] => one,
        [a, b] => a / b,
        _ => return None,
    };
    n.is_finite().then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances() {
        assert_eq!((tolerance("0.01"), tolerance(" 1e-4")), (Ok(0.01), Ok(1e-4)));
        for wrong in ["", "0", "1", "-0.1", "1e-5", "nan", "inf", "1%"] {
            assert!(tolerance(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shapes() {
        let exactly = |n| Domain::Range { min: n, max: Some(n) };
        let range = Domain::Range { min: 64, max: Some(512) };
        assert_eq!(input("x=1, 3").unwrap().sizes, [exactly(1), exactly(3)]);
        assert_eq!(input("x=").unwrap().sizes, []);
        let found = input("a=b=1,64..=512,64..=512").unwrap();
        assert_eq!((&found.name[..], &found.sizes[..]), ("a=b", &[exactly(1), range.clone(), range][..]));
        assert_eq!(input("x=[224|384],[7]").unwrap().sizes, [Domain::OneOf(vec![224, 384]), exactly(7)]);
        for wrong in
            ["x", "=1", "x=1,", "x=-1", "x=0", "x=5..=4", "x=..=4", "x=1..", "x=[|2]", "x=[]", "1..=2", "=1..=2"]
        {
            assert!(input(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn constants() {
        assert_eq!(constant("axes=0, -2.5"), Ok(("axes".into(), vec![0.0, -2.5])));
        assert_eq!(constant("x="), Ok(("x".into(), vec![])));
        assert!(constant("x").is_err() && constant("=1").is_err() && constant("x=one").is_err());
    }

    #[test]
    fn images() {
        let plain = ImageInput { input: Some("a:0".into()), color: ColorSpace::Bgr, scale: 1.0, bias: vec![] };
        assert_eq!(image("a:0:bgr"), Ok(plain));
        let scaled = ImageInput { input: None, color: ColorSpace::Rgb, scale: 0.5, bias: vec![-1.0, 0.0, 1.5] };
        assert_eq!(image("rgb,scale=1/2,bias=-1/0/1.5"), Ok(scaled));
        assert_eq!(image("x:gray,bias=2").unwrap().bias, [2.0]);
        for wrong in [
            "",
            "x",
            "x:",
            "x:cmyk",
            "x:rgb,size=3",
            "x:rgb,scale=",
            "x:rgb,scale=1/0",
            "x:rgb,bias=a",
            "rgb,scale=1/2/3",
        ] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn normalizations() {
        assert_eq!(normalization("imagenet"), Ok(Normalization::imagenet(None)));
        assert_eq!(normalization("x:imagenet"), Ok(Normalization::imagenet(Some("x".into()))));
        let one = normalization("mean=.5,std=.25/.5/1").unwrap();
        assert_eq!((one.mean, one.std, one.rgb), (vec![0.5], vec![0.25, 0.5, 1.0], false));
        assert_eq!(normalization("std=0.5").unwrap().mean, [0.0]);
        for wrong in ["", "imagenett", "mean=", "std=0", "std=1/0/1", "mean=1,mean=2", "x:", "mean=1;std=2"] {
            assert!(normalization(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(rename("probs"), Ok(Rename { from: None, to: "probs".into() }));
        assert_eq!(rename("a=b=c"), Ok(Rename { from: Some("a=b".into()), to: "c".into() }));
        assert!(rename("").is_err() && rename("=a").is_err() && rename("a=").is_err());
    }
}
