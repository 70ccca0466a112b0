//! Which variables a loop's body assigns, before it is lowered.

use std::collections::HashSet;

use syn::{
    Block, Expr, Pat, Stmt,
    visit::{self, Visit},
};

use crate::diag::Place;

/// The names that a block assigns and does not declare itself, in order of first assignment, each with the place of what is
/// assigned last.
pub(super) fn assigned(block: &Block) -> Vec<(String, Place)> {
    let mut finder = Finder { scopes: vec![], found: vec![] };
    finder.visit_block(block);
    finder.found
}

struct Finder {
    scopes: Vec<HashSet<String>>,
    found: Vec<(String, Place)>,
}

impl Finder {
    fn target(&mut self, left: &Expr, at: Place) {
        match left {
            Expr::Path(p) => {
                if let Some(ident) = p.path.get_ident() {
                    let name = ident.to_string();
                    if self.scopes.iter().any(|s| s.contains(&name)) {
                        return;
                    }
                    match self.found.iter_mut().find(|(n, _)| *n == name) {
                        Some((_, place)) => *place = at,
                        None => self.found.push((name, at)),
                    }
                }
            }
            Expr::Tuple(t) => t.elems.iter().for_each(|e| self.target(e, at)),
            Expr::Paren(p) => self.target(&p.expr, at),
            _ => {}
        }
    }

    fn declare(&mut self, pat: &Pat) {
        match pat {
            Pat::Ident(p) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(p.ident.to_string());
                }
            }
            Pat::Type(p) => self.declare(&p.pat),
            Pat::Paren(p) => self.declare(&p.pat),
            Pat::Tuple(t) => t.elems.iter().for_each(|p| self.declare(p)),
            Pat::Slice(t) => t.elems.iter().for_each(|p| self.declare(p)),
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_block(&mut self, block: &'ast Block) {
        self.scopes.push(HashSet::new());
        for stmt in &block.stmts {
            match stmt {
                Stmt::Local(local) => {
                    visit::visit_local(self, local);
                    self.declare(&local.pat);
                }
                Stmt::Item(_) => {} // functions do not see our variables
                other => visit::visit_stmt(self, other),
            }
        }
        self.scopes.pop();
    }

    fn visit_expr_for_loop(&mut self, f: &'ast syn::ExprForLoop) {
        self.visit_expr(&f.expr);
        self.scopes.push(HashSet::new());
        self.declare(&f.pat);
        self.visit_block(&f.body);
        self.scopes.pop();
    }

    fn visit_expr_assign(&mut self, a: &'ast syn::ExprAssign) {
        self.target(&a.left, Place::of(&a.right));
        visit::visit_expr_assign(self, a);
    }

    fn visit_expr_call(&mut self, c: &'ast syn::ExprCall) {
        // `strides = [2, 2]` in a call is a keyword and no assignment.
        self.visit_expr(&c.func);
        for arg in &c.args {
            match arg {
                Expr::Assign(keyword) => self.visit_expr(&keyword.right),
                other => self.visit_expr(other),
            }
        }
    }

    fn visit_expr_binary(&mut self, b: &'ast syn::ExprBinary) {
        use syn::BinOp::*;
        let assigns = matches!(
            b.op,
            AddAssign(_)
                | SubAssign(_)
                | MulAssign(_)
                | DivAssign(_)
                | RemAssign(_)
                | BitAndAssign(_)
                | BitOrAssign(_)
                | BitXorAssign(_)
        );
        if assigns {
            self.target(&b.left, Place::of(b));
        }
        visit::visit_expr_binary(self, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_declared_outside() {
        let block: Block = syn::parse_quote!({
            a = 1;
            let b = 2;
            b = 3;
            (c, a) = (1, 2);
            for d in 0..3 {
                d = 1;
                e += 1;
            }
            let f = mb::relu(x, name = "f");
            if p {
                g = 1
            } else {
                let h = 2;
                h = 3;
            }
        });
        let names: Vec<_> = assigned(&block).into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["a", "c", "e", "g"]);
    }
}
