//! Keeping a template within bounds.
//!
//! minijinja counts instructions and limits recursion, but one instruction can double a text, and thirty of them fill
//! any memory. So before a template is compiled, everything in it that makes new text or lists (`+`, `*`, `~`, slices,
//! filters, calls, and the text between the tags) is put under a function that keeps count in a [`Budget`].
//!
//! This needs minijinja's parsed form, which it declares unstable; the version is pinned to its minor release.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt};
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};

/// The longest text, and the longest prompt.
const MAX_TEXT: usize = 16 << 20;
/// The longest list.
const MAX_LIST: usize = 1 << 20;
/// Bytes of text made during one rendering, intermediate results included.
const MAX_TOTAL: u64 = 1 << 30;
/// What an item of a list counts.
const ITEM_BYTES: usize = 32;

/// Names that no template can spell.
const ADD: &str = "+";
const MULTIPLY: &str = "*";
const CONCAT: &str = "~";
const BILL: &str = "$";

/// What one rendering has made so far. Clones share the count.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget {
    used: Arc<AtomicU64>,
}

/// Names the limit that was exceeded; the cause of the error that minijinja reports.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("exceeds the limit of {0}")]
pub(super) struct Exceeded(pub(super) &'static str);

impl Budget {
    /// Allows a text of `length` bytes to grow by `more`.
    pub(super) fn grow(&self, length: usize, more: usize) -> Result<(), Error> {
        if length.saturating_add(more) > MAX_TEXT {
            return Err(exceeded("16 MiB of text"));
        }
        self.charge(more)
    }

    /// Appends a value as it prints.
    pub(super) fn print(&self, out: &mut String, value: &Value) -> Result<(), Error> {
        let mut bounded = Bounded { budget: self, out, error: None };
        let written = write!(bounded, "{value}");
        match (bounded.error, written) {
            (Some(error), _) => Err(error),
            (None, Err(_)) => Err(Error::new(ErrorKind::WriteFailure, "a value cannot be printed")),
            (None, Ok(())) => Ok(()),
        }
    }

    fn charge(&self, bytes: usize) -> Result<(), Error> {
        let used = self.used.fetch_add(bytes as u64, Ordering::Relaxed);
        if used.saturating_add(bytes as u64) > MAX_TOTAL { Err(exceeded("1 GiB of text in total")) } else { Ok(()) }
    }

    fn list(&self, items: usize) -> Result<(), Error> {
        if items > MAX_LIST {
            return Err(exceeded("1,048,576 items in a list"));
        }
        self.charge(items.saturating_mul(ITEM_BYTES))
    }

    /// Counts a value that was just made.
    fn bill(&self, value: Value) -> Result<Value, Error> {
        match value.kind() {
            ValueKind::String => self.grow(0, value.as_str().map_or(0, str::len))?,
            ValueKind::Seq => self.list(value.len().unwrap_or_default())?,
            _ => {}
        }
        Ok(value)
    }

    fn concat(&self, left: &Value, right: &Value) -> Result<Value, Error> {
        let mut text = String::new();
        self.print(&mut text, left)?;
        self.print(&mut text, right)?;
        Ok(Value::from(text))
    }

    fn add(&self, left: &Value, right: &Value) -> Result<Value, Error> {
        if let (Some(first), Some(second)) = (left.as_str(), right.as_str()) {
            self.grow(first.len(), second.len())?;
            self.charge(first.len())?;
            return Ok(Value::from([first, second].concat()));
        }
        if is_list(left) && is_list(right) {
            let mut items = Vec::new();
            for item in left.try_iter()?.chain(right.try_iter()?) {
                if items.len() == MAX_LIST {
                    return Err(exceeded("1,048,576 items in a list"));
                }
                items.push(item);
            }
            self.list(items.len())?;
            return Ok(Value::from(items));
        }
        numbers(left, right, i128::checked_add, |left, right| left + right)
            .ok_or_else(|| impossible("add", left, right))
    }

    fn multiply(&self, left: &Value, right: &Value) -> Result<Value, Error> {
        let repeat = |value: &Value, times: &Value| -> Option<Result<Value, Error>> {
            let times = usize::try_from(i64::try_from(times.clone()).ok()?.max(0)).ok()?;
            if let Some(text) = value.as_str() {
                let length = text.len().saturating_mul(times);
                return Some(self.grow(0, length).map(|()| Value::from(text.repeat(times))));
            }
            let items = value.len().filter(|_| is_list(value))?;
            let length = items.saturating_mul(times);
            Some(self.list(length).and_then(|()| {
                let items: Vec<Value> = value.try_iter()?.collect();
                Ok(Value::from_iter(std::iter::repeat_n(items, times).flatten()))
            }))
        };
        if let Some(repeated) = repeat(left, right).or_else(|| repeat(right, left)) {
            return repeated;
        }
        numbers(left, right, i128::checked_mul, |left, right| left * right)
            .ok_or_else(|| impossible("multiply", left, right))
    }
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn numbers(
    left: &Value,
    right: &Value,
    integers: fn(i128, i128) -> Option<i128>,
    floats: fn(f64, f64) -> f64,
) -> Option<Value> {
    let is_number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    if !is_number(left) || !is_number(right) {
        return None;
    }
    if let (Ok(left), Ok(right)) = (i128::try_from(left.clone()), i128::try_from(right.clone()))
        && [left, right].iter().all(|number| i64::try_from(*number).is_ok())
    {
        return integers(left, right)
            .map(|number| i64::try_from(number).map_or_else(|_| Value::from(number), Value::from));
    }
    Some(Value::from(floats(f64::try_from(left.clone()).ok()?, f64::try_from(right.clone()).ok()?)))
}

fn impossible(verb: &str, left: &Value, right: &Value) -> Error {
    let kind = if left.is_undefined() || right.is_undefined() {
        ErrorKind::UndefinedError
    } else {
        ErrorKind::InvalidOperation
    };
    Error::new(kind, format!("cannot {verb} {} and {}", left.kind(), right.kind()))
}

fn exceeded(limit: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, "limit exceeded").with_source(Exceeded(limit))
}

/// Writes until the budget is used up: a list that holds itself a thousand times over never prints in full.
struct Bounded<'a> {
    budget: &'a Budget,
    out: &'a mut String,
    error: Option<Error>,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if let Err(error) = self.budget.grow(self.out.len(), text.len()) {
            self.error = Some(error);
            return Err(std::fmt::Error);
        }
        self.out.push_str(text);
        Ok(())
    }
}

/// Adds what guarded templates call.
pub(super) fn install(environment: &mut Environment<'_>, budget: &Budget) {
    let shared = budget.clone();
    environment.add_function(ADD, move |left: Value, right: Value| shared.add(&left, &right));
    let shared = budget.clone();
    environment.add_function(MULTIPLY, move |left: Value, right: Value| shared.multiply(&left, &right));
    let shared = budget.clone();
    environment.add_function(CONCAT, move |left: Value, right: Value| shared.concat(&left, &right));
    let shared = budget.clone();
    environment.add_function(BILL, move |value: Value| shared.bill(value));
    let shared = budget.clone();
    environment.set_formatter(move |out, _, value| {
        let mut text = String::new();
        shared.print(&mut text, value)?;
        out.write_str(&text).map_err(Error::from)
    });
}

/// A parsed template with everything that makes something under the budget's functions.
pub(super) fn guarded<'a>(template: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    statement(template)
}

fn statements<'a>(statements: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
    statements.iter().map(statement).collect()
}

fn statement<'a>(stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Ok(match stmt {
        Stmt::Template(s) => {
            Stmt::Template(Spanned::new(ast::Template { children: statements(&s.children)? }, s.span()))
        }
        Stmt::EmitExpr(s) => {
            // Recursive loops and `super()` are recognised as bare calls; what they emit is counted piece by piece.
            let expr = match &s.expr {
                Expr::Call(call) => Expr::Call(bare_call(call)),
                other => expression(other),
            };
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, s.span()))
        }
        Stmt::EmitRaw(s) => {
            let text = Expr::Const(Spanned::new(ast::Const { value: Value::from(s.raw) }, s.span()));
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: text }, s.span()))
        }
        Stmt::ForLoop(s) => {
            let node = ast::ForLoop {
                target: expression(&s.target),
                iter: expression(&s.iter),
                filter_expr: s.filter_expr.as_ref().map(expression),
                recursive: s.recursive,
                body: statements(&s.body)?,
                else_body: statements(&s.else_body)?,
            };
            Stmt::ForLoop(Spanned::new(node, s.span()))
        }
        Stmt::IfCond(s) => {
            let node = ast::IfCond {
                expr: expression(&s.expr),
                true_body: statements(&s.true_body)?,
                false_body: statements(&s.false_body)?,
            };
            Stmt::IfCond(Spanned::new(node, s.span()))
        }
        Stmt::WithBlock(s) => {
            let assignments = s.assignments.iter().map(|(target, value)| (expression(target), expression(value)));
            let node = ast::WithBlock { assignments: assignments.collect(), body: statements(&s.body)? };
            Stmt::WithBlock(Spanned::new(node, s.span()))
        }
        Stmt::Set(s) => {
            let node = ast::Set { target: expression(&s.target), expr: expression(&s.expr) };
            Stmt::Set(Spanned::new(node, s.span()))
        }
        Stmt::SetBlock(s) => {
            let node = ast::SetBlock {
                target: expression(&s.target),
                filter: s.filter.as_ref().map(open_filter),
                body: statements(&s.body)?,
            };
            Stmt::SetBlock(Spanned::new(node, s.span()))
        }
        Stmt::FilterBlock(s) => {
            let node = ast::FilterBlock { filter: open_filter(&s.filter), body: statements(&s.body)? };
            Stmt::FilterBlock(Spanned::new(node, s.span()))
        }
        Stmt::Block(s) => {
            let node = ast::Block { name: s.name, required: s.required, body: statements(&s.body)? };
            Stmt::Block(Spanned::new(node, s.span()))
        }
        Stmt::Macro(s) => Stmt::Macro(macro_declaration(s)?),
        Stmt::CallBlock(s) => {
            let node = ast::CallBlock { call: bare_call(&s.call), macro_decl: macro_declaration(&s.macro_decl)? };
            Stmt::CallBlock(Spanned::new(node, s.span()))
        }
        Stmt::Do(s) => Stmt::Do(Spanned::new(ast::Do { call: bare_call(&s.call) }, s.span())),
        Stmt::Continue(s) => Stmt::Continue(Spanned::new(ast::Continue, s.span())),
        Stmt::Break(s) => Stmt::Break(Spanned::new(ast::Break, s.span())),
        Stmt::AutoEscape(_) => return Err(unsupported("autoescape")),
        Stmt::Import(_) | Stmt::FromImport(_) => return Err(unsupported("import")),
        Stmt::Extends(_) => return Err(unsupported("extends")),
        Stmt::Include(_) => return Err(unsupported("include")),
    })
}

fn macro_declaration<'a>(node: &Spanned<ast::Macro<'a>>) -> Result<Spanned<ast::Macro<'a>>, Error> {
    let declaration = ast::Macro {
        name: node.name,
        args: node.args.iter().map(expression).collect(),
        defaults: node.defaults.iter().map(expression).collect(),
        body: statements(&node.body)?,
    };
    Ok(Spanned::new(declaration, node.span()))
}

fn unsupported(tag: &str) -> Error {
    Error::new(ErrorKind::SyntaxError, format!("the tag `{tag}` is not supported in chat templates"))
}

fn expression<'a>(expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        Expr::Var(e) => Expr::Var(Spanned::new(ast::Var { id: e.id }, e.span())),
        Expr::Const(e) => Expr::Const(Spanned::new(ast::Const { value: e.value.clone() }, e.span())),
        Expr::Slice(e) => {
            let node = ast::Slice {
                expr: expression(&e.expr),
                start: e.start.as_ref().map(expression),
                stop: e.stop.as_ref().map(expression),
                step: e.step.as_ref().map(expression),
            };
            billed(Expr::Slice(Spanned::new(node, e.span())))
        }
        Expr::UnaryOp(e) => {
            Expr::UnaryOp(Spanned::new(ast::UnaryOp { op: same_operator(&e.op), expr: expression(&e.expr) }, e.span()))
        }
        Expr::BinOp(e) => {
            let (left, right) = (expression(&e.left), expression(&e.right));
            match e.op {
                BinOpKind::Add => function(ADD, vec![left, right], expr),
                BinOpKind::Mul => function(MULTIPLY, vec![left, right], expr),
                BinOpKind::Concat => function(CONCAT, vec![left, right], expr),
                op => Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, e.span())),
            }
        }
        Expr::Compare(e) => {
            let ops = e.ops.iter().map(|step| ast::CompareOp { op: step.op, expr: expression(&step.expr) });
            let node = ast::Compare { expr: expression(&e.expr), ops: ops.collect() };
            Expr::Compare(Spanned::new(node, e.span()))
        }
        Expr::IfExpr(e) => {
            let node = ast::IfExpr {
                test_expr: expression(&e.test_expr),
                true_expr: expression(&e.true_expr),
                false_expr: e.false_expr.as_ref().map(expression),
            };
            Expr::IfExpr(Spanned::new(node, e.span()))
        }
        Expr::Filter(_) => billed(open_filter(expr)),
        Expr::Test(e) => {
            let node = ast::Test { name: e.name, expr: expression(&e.expr), args: arguments(&e.args) };
            Expr::Test(Spanned::new(node, e.span()))
        }
        Expr::GetAttr(e) => {
            let node = ast::GetAttr { expr: expression(&e.expr), name: e.name };
            Expr::GetAttr(Spanned::new(node, e.span()))
        }
        Expr::GetItem(e) => {
            let node = ast::GetItem { expr: expression(&e.expr), subscript_expr: expression(&e.subscript_expr) };
            Expr::GetItem(Spanned::new(node, e.span()))
        }
        Expr::Call(e) => billed(Expr::Call(bare_call(e))),
        Expr::List(e) => {
            Expr::List(Spanned::new(ast::List { items: e.items.iter().map(expression).collect() }, e.span()))
        }
        Expr::Tuple(e) => {
            Expr::Tuple(Spanned::new(ast::Tuple { items: e.items.iter().map(expression).collect() }, e.span()))
        }
        Expr::Map(e) => {
            let node = ast::Map {
                keys: e.keys.iter().map(expression).collect(),
                values: e.values.iter().map(expression).collect(),
            };
            Expr::Map(Spanned::new(node, e.span()))
        }
    }
}

/// The type can be neither copied nor cloned.
fn same_operator(op: &ast::UnaryOpKind) -> ast::UnaryOpKind {
    match op {
        ast::UnaryOpKind::Not => ast::UnaryOpKind::Not,
        ast::UnaryOpKind::Neg => ast::UnaryOpKind::Neg,
    }
}

/// A filter without its bill: the filters of a block have no value at their left end, and must stay as they are.
fn open_filter<'a>(expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        Expr::Filter(e) => {
            let inner = e.expr.as_ref().map(|inner| match inner {
                Expr::Filter(_) => open_filter(inner),
                other => expression(other),
            });
            let node = ast::Filter { name: e.name, expr: inner, args: arguments(&e.args) };
            Expr::Filter(Spanned::new(node, e.span()))
        }
        other => expression(other),
    }
}

/// A call without its bill.
fn bare_call<'a>(call: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
    Spanned::new(ast::Call { expr: expression(&call.expr), args: arguments(&call.args) }, call.span())
}

fn arguments<'a>(args: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    args.iter()
        .map(|arg| match arg {
            CallArg::Pos(value) => CallArg::Pos(expression(value)),
            CallArg::Kwarg(name, value) => CallArg::Kwarg(name, expression(value)),
            CallArg::PosSplat(value) => CallArg::PosSplat(expression(value)),
            CallArg::KwargSplat(value) => CallArg::KwargSplat(expression(value)),
        })
        .collect()
}

fn billed(expr: Expr<'_>) -> Expr<'_> {
    let span = expr.span();
    call(BILL, vec![expr], span)
}

fn function<'a>(name: &'static str, args: Vec<Expr<'a>>, at: &Expr<'a>) -> Expr<'a> {
    call(name, args, at.span())
}

fn call<'a>(name: &'static str, args: Vec<Expr<'a>>, span: minijinja::machinery::Span) -> Expr<'a> {
    let expr = Expr::Var(Spanned::new(ast::Var { id: name }, span));
    let args = args.into_iter().map(CallArg::Pos).collect();
    Expr::Call(Spanned::new(ast::Call { expr, args }, span))
}
