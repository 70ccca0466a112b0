//! The part of Python that TorchScript writes: classes with methods, functions, and in them straight-line code.

use std::{collections::BTreeMap, rc::Rc};

use super::lexer::{Line, Token, lines};
use crate::import::Refusal;

/// How high an expression may be. TorchScript breaks long ones into several lines.
const MAX_HEIGHT: usize = 200;

/// What the files of a model define, by qualified names.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    /// `__torch__.net.Net.forward`, and functions alike.
    pub(super) functions: BTreeMap<String, Function>,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Vec<Statement>,
    /// The file that it is in, and the line where it begins.
    pub(super) file: Rc<str>,
    pub(super) line: usize,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) kind: Option<Expr>,
    pub(super) default: Option<Expr>,
}

#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) action: Action,
}

#[derive(Debug)]
pub(super) enum Action {
    /// Names, and whether there is a comma behind the last: then a list or a tuple is taken apart.
    Assign(Vec<String>, bool, Expr),
    Do(Expr),
    Return(Option<Expr>),
    /// What is not read, which is an error where it is reached.
    Other(String),
}

#[derive(Debug)]
pub(super) enum Expr {
    Name(String),
    Int(i64),
    Float(f64),
    Text(String),
    Attribute(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Option<Box<Expr>>, Option<Box<Expr>>),
    Call(Box<Expr>, Vec<(Option<String>, Expr)>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Negative(Box<Expr>),
}

impl Definitions {
    /// Adds those of a file, whose module has the given name (`__torch__.torch.nn.modules.conv`).
    pub(super) fn add(&mut self, module: &str, file: &str, source: &str) -> Result<(), Refusal> {
        let lines = lines(source)?;
        let file: Rc<str> = file.into();
        // The class that lines are in, with its indent.
        let (mut class, mut at): (Option<(String, usize)>, usize) = (None, 0);
        while let Some(line) = lines.get(at) {
            at += 1;
            if class.as_ref().is_some_and(|(_, indent)| line.indent <= *indent) {
                class = None;
            }
            match &line.tokens[..] {
                [Token::Name(kind), Token::Name(name), ..] if kind == "class" => {
                    class = Some((format!("{module}.{name}"), line.indent));
                }
                [Token::Name(kind), Token::Name(name), ..] if kind == "def" => {
                    let owner = class.as_ref().map_or(module, |(name, _)| name);
                    let body = lines[at..].iter().take_while(|l| l.indent > line.indent).count();
                    let parameters = Parser::new(line, 2).parameters()?;
                    let statements = lines[at..at + body].iter().map(statement).collect::<Result<_, _>>()?;
                    at += body;
                    let function = Function { parameters, body: statements, file: Rc::clone(&file), line: line.number };
                    if self.functions.insert(format!("{owner}.{name}"), function).is_some() {
                        return Err(Refusal::new(format!("line {}: `{name}` is defined twice", line.number)));
                    }
                }
                // Declarations of attributes, imports, versions: the pickle says what there is.
                _ => {}
            }
        }
        Ok(())
    }
}

/// Words that begin what is not straight-line code.
const OTHERS: &[&str] = &[
    "if", "elif", "else", "for", "while", "with", "raise", "assert", "def", "class", "del", "global", "import", "from",
    "try", "except", "finally", "break", "continue", "yield", "lambda",
];

fn statement(line: &Line) -> Result<Statement, Refusal> {
    let mut parser = Parser::new(line, 0);
    let action = match &line.tokens[..] {
        [Token::Name(word), ..] if OTHERS.contains(&&word[..]) => Action::Other(word.clone()),
        [Token::Name(word)] if word == "pass" => Action::Do(Expr::Name("None".into())),
        [Token::Name(word)] if word == "return" => Action::Return(None),
        [Token::Name(word), ..] if word == "return" => {
            parser.at = 1;
            let value = parser.tuple()?;
            parser.end()?;
            Action::Return(Some(value))
        }
        _ => parser.assignment()?,
    };
    Ok(Statement { line: line.number, action })
}

struct Parser<'a> {
    line: &'a Line,
    at: usize,
}

/// An expression and its height.
type Tree = (Expr, usize);

impl<'a> Parser<'a> {
    fn new(line: &'a Line, at: usize) -> Parser<'a> {
        Parser { line, at }
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Refusal {
        Refusal::new(format!("line {}: {what}", self.line.number))
    }

    fn peek(&self) -> Option<&'a Token> {
        self.line.tokens.get(self.at)
    }

    fn is(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    /// Goes over the mark if it is there.
    fn take(&mut self, mark: char) -> bool {
        let found = self.is(mark);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), Refusal> {
        if self.take(mark) { Ok(()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
    }

    fn unexpected(&self, expected: &str) -> Refusal {
        let found = match self.peek() {
            Some(Token::Name(name)) => format!("`{}`", name.chars().take(40).collect::<String>()),
            Some(Token::Mark(c)) => format!("`{c}`"),
            Some(Token::Arrow) => "`->`".into(),
            Some(_) => "a value".into(),
            None => "the end of the line".into(),
        };
        self.wrong(format!("found {found}, expected {expected}"))
    }

    fn name(&mut self) -> Result<String, Refusal> {
        let Some(Token::Name(name)) = self.peek() else { return Err(self.unexpected("a name")) };
        self.at += 1;
        Ok(name.clone())
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.peek().is_some() { Err(self.unexpected("the end of the line")) } else { Ok(()) }
    }

    /// `(self: Class, x: Tensor, y: int=1) -> Tensor:`.
    fn parameters(&mut self) -> Result<Vec<Parameter>, Refusal> {
        self.expect('(')?;
        let mut all = vec![];
        while !self.take(')') {
            let name = self.name()?;
            let kind = if self.take(':') { Some(self.expression()?) } else { None };
            let default = if self.take('=') { Some(self.expression()?) } else { None };
            all.push(Parameter { name, kind, default });
            if !self.is(')') {
                self.expect(',')?;
            }
        }
        Ok(all)
    }

    /// `a = ..`, `a, b = ..`, `a : T = ..`, or an expression alone.
    fn assignment(&mut self) -> Result<Action, Refusal> {
        let (mut names, mut comma) = (vec![], false);
        while let Some(Token::Name(name)) = self.peek() {
            names.push(name.clone());
            self.at += 1;
            comma = self.take(',');
            if !comma {
                break;
            }
        }
        if names.len() == 1 && !comma && self.take(':') {
            self.expression()?;
        }
        if !names.is_empty() && self.take('=') {
            let value = self.tuple()?;
            self.end()?;
            return Ok(Action::Assign(names, comma, value));
        }
        self.at = 0;
        let value = self.expression()?;
        if self.is('=') {
            return Ok(Action::Other("an assignment to a part of an object".into()));
        }
        self.end()?;
        Ok(Action::Do(value))
    }

    fn expression(&mut self) -> Result<Expr, Refusal> {
        Ok(self.tree(0)?.0)
    }

    /// An expression, or several with commas.
    fn tuple(&mut self) -> Result<Expr, Refusal> {
        let first = self.expression()?;
        if !self.is(',') {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.take(',') {
            if self.peek().is_some() {
                all.push(self.expression()?);
            }
        }
        Ok(Expr::Tuple(all))
    }

    /// `depth` is of the parser, and the height that is given is of the expression: neither may grow without bound, since both are
    /// walked by recursion.
    fn tree(&mut self, depth: usize) -> Result<Tree, Refusal> {
        if depth > MAX_HEIGHT {
            return Err(self.wrong("an expression that is nested too deeply"));
        }
        if self.take('-') {
            let (inner, height) = self.tree(depth + 1)?;
            return self.high(Expr::Negative(Box::new(inner)), height);
        }
        let mut tree = self.primary(depth)?;
        loop {
            let (base, height) = tree;
            if self.take('.') {
                let name = self.name()?;
                tree = self.high(Expr::Attribute(Box::new(base), name), height)?;
            } else if self.take('(') {
                let (args, most) = self.arguments(depth + 1)?;
                tree = self.high(Expr::Call(Box::new(base), args), height.max(most))?;
            } else if self.take('[') {
                let (part, most) = self.part(base, depth + 1)?;
                tree = self.high(part, height.max(most))?;
            } else {
                return Ok((base, height));
            }
        }
    }

    fn high(&self, expr: Expr, below: usize) -> Result<Tree, Refusal> {
        if below >= MAX_HEIGHT {
            return Err(self.wrong("an expression that is nested too deeply"));
        }
        Ok((expr, below + 1))
    }

    fn primary(&mut self, depth: usize) -> Result<Tree, Refusal> {
        let Some(token) = self.peek() else { return Err(self.unexpected("a value")) };
        self.at += 1;
        let expr = match token {
            Token::Name(name) => Expr::Name(name.clone()),
            Token::Int(v) => Expr::Int(*v),
            Token::Float(v) => Expr::Float(*v),
            Token::Text(text) => Expr::Text(text.clone()),
            Token::Mark('(') => {
                let (mut all, comma, most) = self.items(')', depth + 1)?;
                if all.len() == 1 && !comma {
                    return self.high(all.remove(0), most);
                }
                return self.high(Expr::Tuple(all), most);
            }
            Token::Mark('[') => {
                let (all, _, most) = self.items(']', depth + 1)?;
                return self.high(Expr::List(all), most);
            }
            Token::Mark('{') => return self.dict(depth + 1),
            _ => {
                self.at -= 1;
                return Err(self.unexpected("a value"));
            }
        };
        Ok((expr, 0))
    }

    /// Expressions with commas up to a bracket; whether there was a comma behind the last, and the greatest height.
    fn items(&mut self, close: char, depth: usize) -> Result<(Vec<Expr>, bool, usize), Refusal> {
        let (mut all, mut comma, mut most) = (vec![], false, 0);
        while !self.take(close) {
            let (item, height) = self.tree(depth)?;
            all.push(item);
            most = most.max(height);
            comma = self.take(',');
            if !comma && !self.is(close) {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
        Ok((all, comma, most))
    }

    fn dict(&mut self, depth: usize) -> Result<Tree, Refusal> {
        let (mut all, mut most) = (vec![], 0);
        while !self.take('}') {
            let (key, a) = self.tree(depth)?;
            self.expect(':')?;
            let (value, b) = self.tree(depth)?;
            all.push((key, value));
            most = most.max(a).max(b);
            if !self.take(',') && !self.is('}') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
        self.high(Expr::Dict(all), most)
    }

    /// Arguments of a call up to the bracket.
    #[allow(clippy::type_complexity)]
    fn arguments(&mut self, depth: usize) -> Result<(Vec<(Option<String>, Expr)>, usize), Refusal> {
        let (mut all, mut most) = (vec![], 0);
        while !self.take(')') {
            let name = match self.line.tokens.get(self.at..self.at + 2) {
                Some([Token::Name(name), Token::Mark('=')]) => {
                    self.at += 2;
                    Some(name.clone())
                }
                _ => None,
            };
            let (value, height) = self.tree(depth)?;
            most = most.max(height);
            all.push((name, value));
            if !self.take(',') && !self.is(')') {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
        Ok((all, most))
    }

    /// `[i]`, `[a:b]`, or the parameters of a type (`Dict[str, Tensor]`), which are as a tuple.
    fn part(&mut self, base: Expr, depth: usize) -> Result<(Expr, usize), Refusal> {
        let (mut first, mut most) = (None, 0);
        if !self.is(':') {
            let (expr, height) = self.tree(depth)?;
            (first, most) = (Some(expr), height);
        }
        if self.take(':') {
            let mut last = None;
            if !self.is(']') {
                let (expr, height) = self.tree(depth)?;
                last = Some(Box::new(expr));
                most = most.max(height);
            }
            self.expect(']')?;
            return Ok((Expr::Slice(Box::new(base), first.map(Box::new), last), most));
        }
        let Some(first) = first else { return Err(self.unexpected("an index")) };
        if !self.take(',') {
            self.expect(']')?;
            return Ok((Expr::Index(Box::new(base), Box::new(first)), most));
        }
        let (mut all, _, more) = self.items(']', depth)?;
        all.insert(0, first);
        Ok((Expr::Index(Box::new(base), Box::new(Expr::Tuple(all))), most.max(more) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(source: &str) -> Result<String, String> {
        let mut all = Definitions::default();
        let text = format!(
            "class A(Module):\n  training : bool\n  def f(self: m.A,\n    x: Tensor) -> Tensor:\n    {source}\n"
        );
        all.add("m", "f.py", &text).map_err(|e| e.to_string())?;
        let function = &all.functions["m.A.f"];
        assert_eq!(function.parameters[1].name, "x");
        Ok(function.body.iter().map(|s| format!("{}: {:?}", s.line, s.action)).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn statements_are_read() {
        let name = |n: &str| format!("Name(\"{n}\")");
        let (x, torch) = (name("x"), name("torch"));
        let add = format!("Call(Attribute({torch}, \"add\"), [(None, {x}), (Some(\"alpha\"), Negative(Int(1)))])");
        assert_eq!(body("y = torch.add(x, alpha=-1)").unwrap(), format!("5: Assign([\"y\"], false, {add})"));
        assert_eq!(body("a, b, = x").unwrap(), format!("5: Assign([\"a\", \"b\"], true, {x})"));
        assert_eq!(body("a, = x").unwrap(), format!("5: Assign([\"a\"], true, {x})"));
        assert_eq!(body("a : Tensor = x").unwrap(), format!("5: Assign([\"a\"], false, {x})"));
        assert_eq!(
            body("return (x, [x], {\"k\": x})").unwrap(),
            format!("5: Return(Some(Tuple([{x}, List([{x}]), Dict([(Text(\"k\"), {x})])])))")
        );
        assert_eq!(
            body("_0 = (x)[0][1:]").unwrap(),
            format!("5: Assign([\"_0\"], false, Slice(Index({x}, Int(0)), Some(Int(1)), None))")
        );
        let call = format!("Call(Attribute({}, \"forward\"), [(None, {x})])", name("_1"));
        assert_eq!(body("_2 = (_1).forward(x, )").unwrap(), format!("5: Assign([\"_2\"], false, {call})"));
        assert_eq!(
            body("if x:\n      y = x\n    return y").unwrap(),
            format!("5: Other(\"if\"); 6: Assign([\"y\"], false, {x}); 7: Return(Some({}))", name("y"))
        );
        assert_eq!(body("self.a = x").unwrap(), "5: Other(\"an assignment to a part of an object\")");
        assert!(body("y = annotate(Dict[str, Tensor], {})").is_ok());
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (source, message) in [
            ("y = ", "line 5: found the end of the line, expected a value"),
            ("y = x x", "found `x`, expected the end"),
            ("y = f(x", "expected `,` or `)`"),
            ("y = x + x", "found `+`, expected the end"),
            ("y = x.1", "expected a name"),
            ("y = [x;x]", "found `;`, expected `,` or `]`"),
            ("y = {x}", "expected `:`"),
            ("y = x[]", "expected"),
        ] {
            let e = body(source).unwrap_err();
            assert!(e.contains(message), "{source}: {e}");
        }
        for deep in [
            "(".repeat(10_000),
            "-".repeat(10_000),
            format!("x{}", ".a".repeat(10_000)),
            format!("x{}", "(x".repeat(10_000)),
        ] {
            let e = body(&format!("y = {deep}")).unwrap_err();
            assert!(e.contains("nested too deeply"), "{e}");
        }
    }
}
