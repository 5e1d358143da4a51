//! The model: what must be so, written down as plainly as it can be.
//!
//! It keeps no counters. Whatever is counted or occupied is added up anew from the sessions, with
//! amounts as integers in units of 10⁻¹².

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

/// One, in the unit of amounts.
pub(super) const ONE: i128 = 1_000_000_000_000;

/// Amounts by name; a zero is left out.
pub(super) type Slots = BTreeMap<&'static str, i128>;
/// Limits by name; `None` is infinite. A zero is a limit.
pub(super) type Limits = BTreeMap<&'static str, Option<i128>>;

/// An amount as the interface writes it.
pub(super) fn written(amount: i128) -> String {
    let decimals = format!("{:012}", amount % ONE);
    format!("{}.{decimals}", amount / ONE).trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn slots_json(slots: &Slots) -> Value {
    slots.iter().map(|(name, amount)| ((*name).to_owned(), json!(written(*amount)))).collect()
}

fn sum<'a>(all: impl Iterator<Item = &'a Slots>) -> Slots {
    let mut total = Slots::new();
    for (name, amount) in all.flatten() {
        *total.entry(name).or_insert(0) += amount;
    }
    total.retain(|_, amount| *amount != 0);
    total
}

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) max_sessions: Option<i64>,
    pub(super) max_system: Option<i64>,
    pub(super) total: Option<Limits>,
    pub(super) limited: bool,
    pub(super) max_kernels: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) user: String,
    pub(super) domain: Option<String>,
    pub(super) policy: String,
    pub(super) active: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) group: String,
    pub(super) status: &'static str,
    pub(super) schedulable: bool,
    pub(super) available: Slots,
}

#[derive(Clone, Debug)]
pub(super) struct Quota {
    pub(super) max_sessions: Option<i64>,
    pub(super) total: Option<Limits>,
    pub(super) limited: bool,
}

/// A kernel as a caller asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) id: Option<Uuid>,
    pub(super) agent: String,
    pub(super) slots: Slots,
}

/// A reservation as a caller asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) id: Uuid,
    pub(super) key: String,
    pub(super) session_type: &'static str,
    pub(super) project: Option<String>,
    pub(super) kernels: Vec<Wanted>,
}

impl Request {
    fn is_system(&self) -> bool {
        self.session_type == "system"
    }
}

struct Kernel {
    /// The caller's, or else the one that was generated, once it is known.
    id: Option<Uuid>,
    agent: String,
    occupied: Slots,
    live: bool,
}

struct Session {
    status: &'static str,
    /// `None` if it was released before it was reserved.
    request: Option<Request>,
    /// User, project, resource group and domain, as they were when it was admitted.
    charged: [Option<String>; 4],
    kernels: Vec<Kernel>,
}

impl Session {
    fn is_active(&self, system: bool) -> bool {
        self.status == "RUNNING" && self.request.as_ref().is_some_and(|r| r.is_system() == system)
    }

    fn is_live(&self) -> bool {
        ["RUNNING", "TERMINATING"].contains(&self.status)
    }

    fn occupied(&self) -> Slots {
        sum(self.kernels.iter().filter(|kernel| kernel.live).map(|kernel| &kernel.occupied))
    }

    fn end(&mut self) {
        self.status = "TERMINATED";
        self.kernels.iter_mut().for_each(|kernel| kernel.live = false);
    }
}

/// The scopes of quotas in the order in which they are violated.
pub(super) const SCOPES: [&str; 4] = ["user", "project", "resource_group", "domain"];

/// Everything there is.
#[derive(Default)]
pub(super) struct World {
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) agents: BTreeMap<String, Agent>,
    pub(super) quotas: BTreeMap<(&'static str, String), Quota>,
    sessions: BTreeMap<Uuid, Session>,
}

/// A caller's mistake: its code.
type Mistake = &'static str;

// Counting.
impl World {
    fn active_of(&self, key: &str, system: bool) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(move |session| {
            session.is_active(system) && session.request.as_ref().is_some_and(|r| r.key == key)
        })
    }

    fn count(&self, key: &str, system: bool) -> i64 {
        i64::try_from(self.active_of(key, system).count()).expect("small")
    }

    fn key_slots(&self, key: &str) -> Slots {
        sum(self.active_of(key, false).map(Session::occupied).collect::<Vec<_>>().iter())
    }

    fn charged_to(&self, scope: &str, id: &str) -> Vec<&Session> {
        let n = SCOPES.iter().position(|s| *s == scope).expect("a scope");
        let charged = |session: &&Session| session.charged[n].as_deref() == Some(id);
        self.sessions.values().filter(|s| s.is_active(false)).filter(charged).collect()
    }

    fn quota_slots(&self, scope: &str, id: &str) -> Slots {
        let occupied: Vec<Slots> =
            self.charged_to(scope, id).into_iter().map(Session::occupied).collect();
        sum(occupied.iter())
    }

    fn kernels(&self) -> impl Iterator<Item = (&Session, &Kernel)> {
        self.sessions.values().flat_map(|s| s.kernels.iter().map(move |kernel| (s, kernel)))
    }

    fn agent_slots(&self, agent: &str) -> Slots {
        let here = self.kernels().filter(|(_, kernel)| kernel.live && kernel.agent == agent);
        sum(here.map(|(_, kernel)| &kernel.occupied))
    }

    /// All that is counted, as the driver reads it from the database.
    pub(super) fn picture(&self) -> Value {
        let keys: BTreeMap<_, _> = self
            .keys
            .keys()
            .map(|key| {
                let slots = slots_json(&self.key_slots(key));
                (key, json!([self.count(key, false), self.count(key, true), slots]))
            })
            .collect();
        let agents: BTreeMap<_, _> =
            self.agents.keys().map(|id| (id, slots_json(&self.agent_slots(id)))).collect();
        let quotas: BTreeMap<_, _> = self
            .quotas
            .keys()
            .map(|(scope, id)| {
                let used = self.charged_to(scope, id).len();
                (format!("{scope} {id}"), json!([used, slots_json(&self.quota_slots(scope, id))]))
            })
            .collect();
        let sessions: BTreeMap<_, _> =
            self.sessions.iter().map(|(id, session)| (id, session.status)).collect();
        let slots: BTreeMap<_, _> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.status == "RUNNING")
            .filter_map(|(id, session)| session.request.as_ref().map(|r| (id, &r.key)))
            .collect();
        let kernels: BTreeMap<_, _> = self
            .kernels()
            .filter(|(_, kernel)| kernel.live)
            .filter_map(|(_, kernel)| Some((kernel.id?, slots_json(&kernel.occupied))))
            .collect();
        json!({
            "keys": keys, "agents": agents, "quotas": quotas, "sessions": sessions,
            "slots": slots, "kernels": kernels,
        })
    }
}

/// A violation as the interface lists it, but for its message.
fn violation(code: &str, scope: &str, id: &str, slot: Option<&str>, numbers: [Value; 3]) -> Value {
    let [used, requested, max] = numbers;
    json!({
        "code": code, "scope": scope, "scope_id": id, "slot": slot,
        "used": used, "requested": requested, "max": max,
    })
}

/// The slots that do not fit.
fn over(
    code: &str,
    scope: &str,
    id: &str,
    requested: &Slots,
    used: &Slots,
    limit: impl Fn(&str) -> Option<i128>,
) -> Vec<Value> {
    let over = |(name, amount): (&&str, &i128)| {
        let used = used.get(name).copied().unwrap_or(0);
        let max = limit(name)?;
        let numbers = [used, *amount, max].map(|amount| json!(written(amount)));
        (used + amount > max).then(|| violation(code, scope, id, Some(name), numbers))
    };
    requested.iter().filter_map(over).collect()
}

/// What a slot is limited to; `None` is unlimited.
fn limit(total: Option<&Limits>, limited: bool, name: &str) -> Option<i128> {
    match total?.get(name) {
        Some(limit) => *limit,
        None => limited.then_some(0),
    }
}

// Admission.
impl World {
    /// What the key alone has to say against it.
    fn key_violations(&self, request: &Request) -> Vec<Value> {
        let key = &self.keys[&request.key];
        let policy = &self.policies[&key.policy];
        let mut found = Vec::new();
        if !key.active {
            found.push(violation(
                "key_inactive",
                "keypair",
                &request.key,
                None,
                Default::default(),
            ));
        }
        let kernels = i64::try_from(request.kernels.len()).expect("small");
        let used = self.count(&request.key, request.is_system());
        let (code, max) = if request.is_system() {
            ("system_concurrency_limit", policy.max_system)
        } else {
            ("concurrency_limit", policy.max_sessions)
        };
        for (code, used, requested, max) in
            [("kernels_per_session", 0, kernels, policy.max_kernels), (code, used, 1, max)]
        {
            if max.is_some_and(|max| used + requested > max) {
                let numbers = [json!(used), json!(requested), json!(max)];
                found.push(violation(code, "keypair", &request.key, None, numbers));
            }
        }
        found
    }

    /// User, project, resource group and domain that a session would be charged to.
    fn scopes(&self, request: &Request) -> [Option<String>; 4] {
        if request.is_system() {
            return Default::default();
        }
        let key = &self.keys[&request.key];
        let group = self.agents[&request.kernels[0].agent].group.clone();
        [Some(key.user.clone()), request.project.clone(), Some(group), key.domain.clone()]
    }

    fn quota_violations(&self, request: &Request) -> Vec<Value> {
        let total = sum(request.kernels.iter().map(|kernel| &kernel.slots));
        let policy = &self.policies[&self.keys[&request.key].policy];
        let mut found = Vec::new();
        if !request.is_system() {
            found = over(
                "keypair_quota",
                "keypair",
                &request.key,
                &total,
                &self.key_slots(&request.key),
                |name| limit(policy.total.as_ref(), policy.limited, name),
            );
        }
        for (scope, id) in SCOPES.into_iter().zip(self.scopes(request)) {
            let Some(id) = id else { continue };
            let Some(quota) = self.quotas.get(&(scope, id.clone())) else { continue };
            let code = format!("{scope}_quota");
            let used = i64::try_from(self.charged_to(scope, &id).len()).expect("small");
            if quota.max_sessions.is_some_and(|max| used + 1 > max) {
                let numbers = [json!(used), json!(1), json!(quota.max_sessions)];
                found.push(violation(&code, scope, &id, None, numbers));
            }
            found.extend(over(&code, scope, &id, &total, &self.quota_slots(scope, &id), |name| {
                limit(quota.total.as_ref(), quota.limited, name)
            }));
        }
        found
    }

    fn agent_violations(&self, request: &Request) -> Vec<Value> {
        let agents: BTreeSet<&String> = request.kernels.iter().map(|k| &k.agent).collect();
        let mut found = Vec::new();
        for id in &agents {
            let agent = &self.agents[*id];
            if agent.status != "ALIVE" || !agent.schedulable {
                let numbers = Default::default();
                found.push(violation("agent_unavailable", "agent", id, None, numbers));
            }
        }
        for id in agents {
            let here = request.kernels.iter().filter(|kernel| kernel.agent == *id);
            let requested = sum(here.map(|kernel| &kernel.slots));
            let available = &self.agents[id].available;
            found.extend(over(
                "agent_capacity",
                "agent",
                id,
                &requested,
                &self.agent_slots(id),
                |name| Some(available.get(name).copied().unwrap_or(0)),
            ));
        }
        found
    }

    /// All that speaks against it, in the order of the interface.
    pub(super) fn violations(&self, request: &Request) -> Vec<Value> {
        [
            self.key_violations(request),
            self.quota_violations(request),
            self.agent_violations(request),
        ]
        .concat()
    }

    /// What is wrong with a request whatever there is.
    fn mistake(request: &Request) -> Option<Mistake> {
        let ids: Vec<Uuid> = request.kernels.iter().filter_map(|kernel| kernel.id).collect();
        let twice = ids.iter().collect::<BTreeSet<_>>().len() < ids.len();
        twice.then_some("OC005")
    }

    fn unknown(&self, request: &Request) -> Option<Mistake> {
        if !self.keys.contains_key(&request.key) {
            return Some("OC002");
        }
        let agents: Option<BTreeSet<&String>> = request
            .kernels
            .iter()
            .map(|kernel| self.agents.get(&kernel.agent).map(|agent| &agent.group))
            .collect();
        match agents {
            None => Some("OC003"),
            Some(groups) if groups.len() > 1 => Some("OC005"),
            Some(_) => None,
        }
    }

    /// What became of the id before: `None` if it is new, or else whether this is the same call.
    pub(super) fn known(&self, request: &Request) -> Result<Option<&'static str>, Mistake> {
        if let Some(mistake) = Self::mistake(request) {
            return Err(mistake);
        }
        match self.sessions.get(&request.id) {
            None => self.unknown(request).map_or(Ok(None), Err),
            Some(session) if session.status != "RUNNING" => Ok(Some("session_ended")),
            Some(session) if session.request.as_ref() == Some(request) => {
                Ok(Some("already_admitted"))
            }
            Some(_) => Err("OC006"),
        }
    }

    /// Whether it would be admitted, but names a kernel of another session.
    pub(super) fn conflicts(&self, request: &Request) -> bool {
        let taken: BTreeSet<Uuid> = self.kernels().filter_map(|(_, kernel)| kernel.id).collect();
        let named = |kernel: &Wanted| kernel.id.is_some_and(|id| taken.contains(&id));
        request.kernels.iter().any(named) && self.violations(request).is_empty()
    }

    fn answer(&self, request: &Request, outcome: &str, violations: &[Value]) -> Value {
        let policy = self.keys.get(&request.key).map(|key| &self.policies[&key.policy]);
        let max =
            policy.and_then(|p| if request.is_system() { p.max_system } else { p.max_sessions });
        let used = policy.map(|_| self.count(&request.key, request.is_system()));
        let kernels: Option<Vec<Value>> = (outcome != "rejected").then(|| {
            let pairs = self.sessions[&request.id].kernels.iter().zip(&request.kernels);
            pairs
                .map(|(kernel, wanted)| {
                    let slots = slots_json(&wanted.slots);
                    json!({"kernel_id": kernel.id, "agent": wanted.agent, "slots": slots})
                })
                .collect()
        });
        json!({
            "outcome": outcome, "code": violations.first().map(|v| &v["code"]), "used": used,
            "max": max, "violations": violations, "kernels": kernels.unwrap_or_default(),
        })
    }

    pub(super) fn reserve(&mut self, request: &Request) -> Result<Value, Mistake> {
        match self.known(request)? {
            None => {}
            Some("already_admitted") => return Ok(self.answer(request, "already_admitted", &[])),
            Some(code) => {
                let numbers = Default::default();
                let ended = violation(code, "session", &request.id.to_string(), None, numbers);
                return Ok(self.answer(request, "rejected", &[ended]));
            }
        }
        let of_key = self.key_violations(request);
        let decisive = |violation: &Value| violation["code"] != "kernels_per_session";
        // The interface allows to say no more than that, and the functions make use of it.
        let violations =
            if of_key.iter().any(decisive) { of_key } else { self.violations(request) };
        if !violations.is_empty() {
            return Ok(self.answer(request, "rejected", &violations));
        }
        if self.conflicts(request) {
            return Err("OC006");
        }
        let kernels = request.kernels.iter().map(|wanted| Kernel {
            id: wanted.id,
            agent: wanted.agent.clone(),
            occupied: wanted.slots.clone(),
            live: true,
        });
        let session = Session {
            status: "RUNNING",
            request: Some(request.clone()),
            charged: self.scopes(request),
            kernels: kernels.collect(),
        };
        self.sessions.insert(request.id, session);
        Ok(self.answer(request, "admitted", &[]))
    }

    /// Takes over the ids that were generated for the kernels of a session.
    pub(super) fn learn(&mut self, session: Uuid, ids: &[Uuid]) {
        let Some(session) = self.sessions.get_mut(&session) else { return };
        for (kernel, id) in session.kernels.iter_mut().zip(ids) {
            kernel.id.get_or_insert(*id);
        }
    }

    /// Every id of a kernel that is remembered.
    pub(super) fn kernel_ids(&self) -> Vec<Uuid> {
        self.kernels().filter_map(|(_, kernel)| kernel.id).collect()
    }
}

// Ending.
impl World {
    pub(super) fn release(&mut self, id: Uuid) -> &'static str {
        match self.sessions.get_mut(&id) {
            Some(session) if session.is_live() => {
                session.end();
                "released"
            }
            Some(_) => "already_released",
            None => {
                let remembered = Session {
                    status: "CANCELLED",
                    request: None,
                    charged: Default::default(),
                    kernels: Vec::new(),
                };
                self.sessions.insert(id, remembered);
                "unknown"
            }
        }
    }

    pub(super) fn terminate(&mut self, id: Uuid) -> &'static str {
        match self.sessions.get_mut(&id) {
            None => "unknown",
            Some(session) => match session.status {
                "RUNNING" => {
                    session.status = "TERMINATING";
                    "terminating"
                }
                "TERMINATING" => "already_terminating",
                _ => "already_released",
            },
        }
    }

    fn kernel_mut(&mut self, id: Uuid) -> Option<(&mut Session, usize)> {
        self.sessions.values_mut().find_map(|session| {
            let n = session.kernels.iter().position(|kernel| kernel.id == Some(id))?;
            Some((session, n))
        })
    }

    /// The outcome, and whether the session has ended.
    pub(super) fn release_kernel(&mut self, id: Uuid) -> (&'static str, bool) {
        let Some((session, n)) = self.kernel_mut(id) else { return ("unknown", false) };
        if !session.kernels[n].live {
            return ("already_released", !session.is_live());
        }
        session.kernels[n].live = false;
        let ended = session.kernels.iter().all(|kernel| !kernel.live);
        if ended {
            session.end();
        }
        ("released", ended)
    }

    pub(super) fn settle(&mut self, id: Uuid, slots: &Slots) -> Result<&'static str, Mistake> {
        let (session, n) = self.kernel_mut(id).ok_or("OC004")?;
        if !session.kernels[n].live {
            return Ok("already_released");
        }
        session.kernels[n].occupied = slots.clone();
        Ok("settled")
    }

    pub(super) fn clear(&mut self, key: &str) -> Result<usize, Mistake> {
        self.keys.get(key).ok_or("OC002")?;
        let mut ended = 0;
        for session in self.sessions.values_mut().filter(|session| session.is_live()) {
            if session.request.as_ref().is_some_and(|request| request.key == key) {
                session.end();
                ended += 1;
            }
        }
        Ok(ended)
    }

    pub(super) fn prune(&mut self) -> usize {
        let before = self.sessions.len();
        self.sessions.retain(|_, session| session.is_live());
        before - self.sessions.len()
    }
}

// Registry.
impl World {
    pub(super) fn drop_policy(&mut self, name: &str) -> &'static str {
        if self.keys.values().any(|key| key.policy == name) {
            return "in_use";
        }
        self.policies.remove(name).map_or("unknown", |_| "dropped")
    }

    pub(super) fn drop_key(&mut self, key: &str) -> &'static str {
        let of_key = |session: &Session| session.request.as_ref().is_some_and(|r| r.key == key);
        if self.sessions.values().any(|session| session.is_live() && of_key(session)) {
            return "in_use";
        }
        self.keys.remove(key).map_or("unknown", |_| "dropped")
    }

    pub(super) fn drop_agent(&mut self, id: &str) -> &'static str {
        if self.kernels().any(|(_, kernel)| kernel.live && kernel.agent == id) {
            return "in_use";
        }
        self.agents.remove(id).map_or("unknown", |_| "dropped")
    }

    pub(super) fn drop_quota(&mut self, scope: &'static str, id: &str) -> &'static str {
        let key = (scope, id.to_owned());
        if !self.quotas.contains_key(&key) {
            return "unknown";
        }
        if !self.charged_to(scope, id).is_empty() {
            return "in_use";
        }
        self.quotas.remove(&key).map_or("unknown", |_| "dropped")
    }
}
