//! The shape of the route table: lines of data, from which the application, the `Allow`
//! headers and the API's description are made.

use actix_web::{
    FromRequest, Handler, HttpResponse, Responder, Route,
    http::Method,
    web::{self, ServiceConfig},
};

use super::error::{ApiError, RequestError};

/// One line of the table: which handler answers a method on a path.
pub(super) struct Line {
    method: Method,
    path: &'static str,
    route: Route,
}

impl Line {
    fn new<F, Args>(method: Method, path: &'static str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self {
            route: web::method(method.clone()).to(handler),
            method,
            path,
        }
    }

    /// The method and the path, whose gaps are in braces.
    pub(super) fn name(&self) -> (String, &'static str) {
        (self.method.to_string(), self.path)
    }
}

macro_rules! methods {
    ($($name:ident $method:ident),+) => {$(
        /// A line for this method.
        pub(super) fn $name<F, Args>(path: &'static str, handler: F) -> Line
        where
            F: Handler<Args>,
            Args: FromRequest + 'static,
            F::Output: Responder + 'static,
        {
            Line::new(Method::$method, path, handler)
        }
    )+};
}

methods!(get GET, head HEAD, post POST, put PUT, patch PATCH, delete DELETE);

/// Adds every line of `table`. A path that is there answers other methods with 405 and
/// says in `Allow` which it takes.
pub(super) fn install(config: &mut ServiceConfig, table: Vec<Line>) {
    let mut paths: Vec<(&'static str, Vec<Line>)> = Vec::new();
    for line in table {
        match paths.iter_mut().find(|(path, _)| *path == line.path) {
            Some((_, lines)) => lines.push(line),
            None => paths.push((line.path, vec![line])),
        }
    }
    for (path, lines) in paths {
        let methods: Vec<&str> = lines.iter().map(|line| line.method.as_str()).collect();
        let resource = web::resource(path).default_service(only(methods.join(", ")));
        let resource = lines
            .into_iter()
            .fold(resource, |resource, line| resource.route(line.route));
        config.service(resource);
    }
}

/// Answers methods that a known path does not take.
pub(super) fn only(allow: String) -> Route {
    web::to(move || {
        let allow = allow.clone();
        async move { Err::<HttpResponse, _>(ApiError::from(RequestError::Method { allow })) }
    })
}
