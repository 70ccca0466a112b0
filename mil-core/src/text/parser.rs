//! Text -> messages: programs, functions, blocks and ops.
//!
//! Recursive descent, one token ahead. What comes out is what a package holds, so that it is read, inferred and checked
//! as a package is.

use std::collections::BTreeMap;

use super::{
    error::ParseError,
    flexible::{self, Flexible},
    lexer::{Lexer, Token},
    literals::Value,
};
use crate::{
    spec::{mil, types::value_type},
    types::{Opset, Type},
};

/// The deepest that blocks and types may nest, here as in the messages (whose decoder takes a hundred levels, of which a
/// block takes two).
const MAX_DEPTH: usize = 40;

/// A program as its text says it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) program: mil::Program,
    /// The newest that the text speaks of.
    pub(super) opset: Opset,
    /// What functions say of the sizes of their inputs.
    pub(super) flexible: BTreeMap<String, Flexible>,
    /// Where the ops of functions start, in the order of the text.
    pub(super) ops: BTreeMap<String, Vec<usize>>,
}

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next token.
    pub(super) token: Token<'a>,
    /// Where it starts.
    pub(super) at: usize,
    depth: usize,
    /// How many sizes are unknown so far; each is its own.
    pub(super) unknowns: usize,
    ops: Vec<usize>,
}

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Parsed, ParseError> {
    let mut parser = Parser { lexer: Lexer::new(text), token: Token::End, at: 0, depth: 0, unknowns: 0, ops: vec![] };
    parser.advance()?;
    parser.program()
}

impl<'a> Parser<'a> {
    /// Takes the next token.
    pub(super) fn advance(&mut self) -> Result<Token<'a>, ParseError> {
        let (next, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, next))
    }

    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::at(self.lexer.text(), at, message)
    }

    pub(super) fn expected(&self, what: &str) -> ParseError {
        self.error_at(self.at, format!("expected {what}, found {}", self.token.shown()))
    }

    /// Takes this sign if it is next.
    pub(super) fn accept(&mut self, sign: u8) -> Result<bool, ParseError> {
        let found = self.token == Token::Sign(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    pub(super) fn expect(&mut self, sign: u8) -> Result<(), ParseError> {
        match self.accept(sign)? {
            true => Ok(()),
            false => Err(self.expected(&format!("`{}`", char::from(sign)))),
        }
    }

    /// Takes this word.
    pub(super) fn expect_word(&mut self, word: &str) -> Result<(), ParseError> {
        if self.token != Token::Word(word) {
            return Err(self.expected(&format!("`{word}`")));
        }
        self.advance().map(drop)
    }

    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let Token::Word(word) = self.token else { return Err(self.expected(what)) };
        self.advance()?;
        Ok(word)
    }

    /// A name: a word, or in quotes what no word can be.
    pub(super) fn name(&mut self, what: &str) -> Result<String, ParseError> {
        if !matches!(self.token, Token::Word(_) | Token::String(_)) {
            return Err(self.expected(what));
        }
        Ok(match self.advance()? {
            Token::Word(word) => word.to_string(),
            Token::String(name) => name.into_owned(),
            _ => String::new(),
        })
    }

    /// Items between commas, up to the sign that closes them, which is taken.
    pub(super) fn list(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        if self.accept(close)? {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.accept(close)? {
                return Ok(());
            }
            if !self.accept(b',')? {
                return Err(self.expected(&format!("`,` or `{}`", char::from(close))));
            }
        }
    }

    /// One level further in.
    pub(super) fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error_at(self.at, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn program(mut self) -> Result<Parsed, ParseError> {
        self.expect_word("program")?;
        self.expect(b'(')?;
        let (major, minor) = self.version()?;
        self.expect(b')')?;
        let attributes = messages(self.attributes()?);
        let mut parsed = Parsed {
            program: mil::Program { version: major, attributes, ..Default::default() },
            // The compiler writes 1.3 for models of specification version 9 and later, whose functions may be older.
            opset: if (major, minor) >= (1, 3) { Opset::iOS18 } else { Opset::iOS15 },
            flexible: BTreeMap::new(),
            ops: BTreeMap::new(),
        };
        self.expect(b'{')?;
        while !self.accept(b'}')? {
            self.function(&mut parsed)?;
        }
        match self.token {
            Token::End => Ok(parsed),
            _ => Err(self.expected("the end of the text")),
        }
    }

    /// `1.3`.
    fn version(&mut self) -> Result<(i64, u32), ParseError> {
        let number = match self.token {
            Token::Number(number) => number.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))),
            _ => None,
        };
        let number = number.ok_or_else(|| self.expected("a version, such as 1.0"))?;
        self.advance()?;
        Ok(number)
    }

    fn function(&mut self, parsed: &mut Parsed) -> Result<(), ParseError> {
        if self.token != Token::Word("func") {
            return Err(self.expected("`func` or `}`"));
        }
        self.advance()?;
        let at = self.at;
        let name = self.name("the name of a function")?;
        if parsed.program.functions.contains_key(&name) {
            return Err(self.error_at(at, format!("there are two functions `{}`", name.escape_debug())));
        }
        self.expect(b'<')?;
        let opset = self.opset()?;
        self.expect(b'>')?;
        let inputs = self.inputs()?;
        let mut attributes = self.attributes()?;
        let said = attributes.get(flexible::ATTRIBUTE).and_then(|v| v.structure.as_ref());
        if let Some(found) = said.and_then(flexible::read) {
            attributes.remove(flexible::ATTRIBUTE);
            parsed.flexible.insert(name.clone(), found);
        }
        let block = self.body()?;
        self.expect(b';')?;
        let function = mil::Function {
            inputs,
            opset: opset.spec_name().to_string(),
            block_specializations: BTreeMap::from([(opset.spec_name().to_string(), block)]),
            attributes: messages(attributes),
        };
        parsed.opset = parsed.opset.max(opset);
        parsed.ops.insert(name.clone(), std::mem::take(&mut self.ops));
        parsed.program.functions.insert(name, function);
        Ok(())
    }

    fn opset(&mut self) -> Result<Opset, ParseError> {
        let all = || Opset::ALL.map(|o| format!("`{}`", o.name().to_ascii_lowercase())).join(", ");
        let known = match self.token {
            Token::Word(word) => Opset::ALL.into_iter().find(|o| o.name().eq_ignore_ascii_case(word)),
            _ => None,
        };
        let opset = known.ok_or_else(|| self.expected(&format!("an opset ({})", all())))?;
        self.advance()?;
        Ok(opset)
    }

    fn inputs(&mut self) -> Result<Vec<mil::NamedValueType>, ParseError> {
        let mut inputs = vec![];
        self.expect(b'(')?;
        self.list(b')', |p| {
            let ty = p.ty()?;
            inputs.push(p.typed_name(ty)?);
            Ok(())
        })?;
        Ok(inputs)
    }

    /// The name behind a type.
    fn typed_name(&mut self, ty: Type) -> Result<mil::NamedValueType, ParseError> {
        Ok(mil::NamedValueType { name: self.name("the name of a value")?, r#type: Some(value_type(&ty)) })
    }

    /// A block, from its brace on.
    fn body(&mut self) -> Result<mil::Block, ParseError> {
        let mut block = mil::Block::default();
        self.expect(b'{')?;
        while !self.accept(b'}')? {
            let op = self.op()?;
            block.operations.push(op);
        }
        if self.token != Token::Arrow {
            return Err(self.expected("`->` and the outputs of the block"));
        }
        self.advance()?;
        self.expect(b'(')?;
        self.list(b')', |p| {
            block.outputs.push(p.name("the name of a value")?);
            Ok(())
        })?;
        block.attributes = messages(self.attributes()?);
        Ok(block)
    }

    fn op(&mut self) -> Result<mil::Operation, ParseError> {
        self.ops.push(self.at);
        let mut op = mil::Operation::default();
        let at = self.at;
        let first = self.word("an op, or `}`")?;
        if self.token == Token::Sign(b'(') {
            // It gives nothing.
            op.r#type = first.to_string();
        } else {
            let ty = self.ty_of(first, at)?;
            op.outputs.push(self.typed_name(ty)?);
            while self.accept(b',')? {
                let ty = self.ty()?;
                op.outputs.push(self.typed_name(ty)?);
            }
            self.expect(b'=')?;
            op.r#type = self.word("an op")?.to_string();
        }
        self.expect(b'(')?;
        self.list(b')', |p| p.argument(&mut op))?;
        op.attributes = messages(self.attributes()?);
        if matches!(self.token, Token::Sign(b'(' | b'{')) {
            op.blocks.push(self.deeper(Self::nested)?);
            while self.accept(b',')? {
                op.blocks.push(self.deeper(Self::nested)?);
            }
        }
        self.expect(b';')?;
        Ok(op)
    }

    fn nested(&mut self) -> Result<mil::Block, ParseError> {
        let inputs = if self.token == Token::Sign(b'(') { self.inputs()? } else { vec![] };
        Ok(mil::Block { inputs, ..self.body()? })
    }

    fn argument(&mut self, op: &mut mil::Operation) -> Result<(), ParseError> {
        let at = self.at;
        let param = self.name("the name of a parameter")?;
        if op.inputs.contains_key(&param) {
            return Err(self.error_at(at, format!("`{}` is given twice", param.escape_debug())));
        }
        self.expect(b'=')?;
        let mut argument = mil::Argument::default();
        if self.accept(b'(')? {
            self.list(b')', |p| {
                argument.arguments.push(p.binding()?);
                Ok(())
            })?;
        } else {
            argument.arguments.push(self.binding()?);
        }
        op.inputs.insert(param, argument);
        Ok(())
    }

    fn binding(&mut self) -> Result<mil::argument::Binding, ParseError> {
        use mil::argument::binding::Binding as B;
        let named = matches!(self.token, Token::String(_));
        let binding = match self.token {
            Token::Word(word) => {
                let at = self.at;
                self.advance()?;
                match self.token {
                    Token::Sign(b'<' | b'(') => {
                        let ty = self.ty_of(word, at)?;
                        B::Value(self.value_of(ty)?.message)
                    }
                    _ => B::Name(word.to_string()),
                }
            }
            _ if named => B::Name(self.name("a name")?),
            _ => return Err(self.expected("the name of a value, or a value")),
        };
        Ok(mil::argument::Binding { binding: Some(binding) })
    }

    /// Attributes in brackets, if there are any.
    fn attributes(&mut self) -> Result<BTreeMap<String, Value>, ParseError> {
        let mut attributes = BTreeMap::new();
        if !self.accept(b'[')? {
            return Ok(attributes);
        }
        self.list(b']', |p| {
            let at = p.at;
            let name = p.name("the name of an attribute")?;
            p.expect(b'=')?;
            let ty = p.ty()?;
            let value = p.value_of(ty)?;
            match attributes.insert(name, value) {
                None => Ok(()),
                Some(_) => Err(p.error_at(at, "this attribute is given twice")),
            }
        })?;
        Ok(attributes)
    }
}

fn messages(attributes: BTreeMap<String, Value>) -> BTreeMap<String, mil::Value> {
    attributes.into_iter().map(|(k, v)| (k, v.message)).collect()
}
