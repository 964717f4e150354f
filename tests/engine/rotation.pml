/*
 * The rotation protocol for Spin: every interleaving of a few people and one session.
 *
 *     python -m tests.engine.spin     the protocol holds, and no variant that is broken on purpose
 *
 * Two tabs of the owner share one credential. Requests interleave step by step. A request or its
 * answer gets lost; the service is killed before its write, between two writes, or before its
 * answer; a request its client gave up arrives later all the same; the SDK repeats a write that had
 * taken effect. The client cannot tell these apart: it retries, with its Idempotency-Key or without.
 * A thief copies any token at any moment and presents it, without the owner's key. Somebody revokes.
 * Of the clock there is what the rules see of it: the leeway is over, the deadline has passed.
 *
 * A token is a number, `generation * 16 + who minted it`, so two successors of one token are two
 * numbers and a fork shows.
 *
 * step here           code it stands for, in layers/ratchet/ratchet/
 * decide, ROTATE      store.py SessionStore.rotate: one UpdateItem, so one atomic step. Why it
 *                     failed is told by the item as it was then (ReturnValuesOnConditionCheckFailure
 *                     =ALL_OLD in _conditional), so that belongs to the same step.
 * ALIVE               the conditions on ended_at and the deadlines there
 * DEAD                refresh.py _refuse_others, session.py Session.dead_because
 * OURS                refresh.py refresh: `successor.hash() in (current_hash, parent_hash)`
 * MAY_REPLAY          session.py Session.answers_parent, then refresh_token.py unseal
 * REUSE, then END     refresh.py _reuse, session_end.py end_session, store.py SessionStore.end
 * repeat              wiring.py CONFIG: retries of the SDK, below store.py _call
 * Revoker             revoke.py revoke, sessions.py end_one: SessionStore.end
 * Clock               `now` in Session.answers_parent and in the condition of SessionStore.rotate
 *
 * Broken on purpose (-D): GET_THEN_PUT reads the item, then writes all of it without a condition.
 * UNCONDITIONAL_PUT leaves out the condition on current_hash. LEEWAY_ON_GRANDPARENTS answers any
 * older token inside the leeway. REUSE_ENDS_NOTHING refuses an old token, and that is all.
 * NO_DEADLINE leaves the deadline out of the condition.
 *
 * Left out: that seal and hash keep their secrets, clocks that differ, changes of policy, rotation
 * switched off, and the end of the key's window (24 h).
 */

#ifndef TRIES
#define TRIES 2  /* requests of one tab, at most 4 */
#endif
#ifndef OTHERS
#define OTHERS 1 /* requests of the other tab */
#endif
#ifndef THEFTS
#define THEFTS 1 /* requests of the thief */
#endif
#define LEVELS 18 /* more generations than there are requests; gcc sees that no index is beyond */

#define NONE 0
#define FIRST 16
#define GEN(token) ((token) >> 4)
#define THIEFS_KEY 15

mtype = { LOST, DEAD, REUSE, GIVEN };

/* The item (session_item.py). request: the Idempotency-Key of the last rotation. */
byte current = FIRST;
byte parent = NONE;
byte request = NONE;
bool ended = false;

/* The clock. */
bool in_leeway = false;
bool past_deadline = false;

/* The owner's credential, which both tabs read and write. */
byte credential = FIRST;

/* A request whose client has given up, and which is still on its way. */
byte stray = NONE;
byte stray_key = NONE;
byte stray_next = NONE;

/* What the properties remember. The protocol does not read it. */
byte written[LEVELS] = NONE; /* by generation: the token that became current */
byte won_with[LEVELS] = NONE; /* by generation: the key of the request that did it */
bool thief_acted = false;
bool revoked = false;
bool late = false; /* an old token came from the owner, outside of every promise */

#ifdef UNCONDITIONAL_PUT
#define IS_CURRENT(token, item) true
#else
#define IS_CURRENT(token, item) ((item) == (token))
#endif
#ifdef NO_DEADLINE
#define OVER(end) (end)
#else
#define OVER(end) ((end) || past_deadline)
#endif

#define SAME_REQUEST(key) ((key) != NONE && request == (key))
#ifdef LEEWAY_ON_GRANDPARENTS
#define MAY_REPLAY(token, key) \
  (parent != NONE && in_leeway || parent == (token) && SAME_REQUEST(key))
#else
#define MAY_REPLAY(token, key) (parent == (token) && (in_leeway || SAME_REQUEST(key)))
#endif

/* An honest request that has to be answered: its token is unused, or the successor is, and it comes
   inside the leeway or repeats the request that won. Told without the item's own fields. */
#define PROMISED(token, key) \
  (!ended && !past_deadline && written[GEN(token)] == (token) && \
   written[GEN(token) + 2] == NONE && \
   (written[GEN(token) + 1] == NONE || in_leeway || \
    (key) != NONE && won_with[GEN(token) + 1] == (key)))

#define ROTATE(token, key, next) \
  assert(!ended);                        /* an ended session never revives */ \
  assert(!past_deadline);                /* nothing works after the deadline */ \
  assert(written[GEN(next)] == NONE);    /* one successor, no fork */ \
  current = next; parent = token; request = key; in_leeway = true; \
  written[GEN(next)] = next; won_with[GEN(next)] = key

/* What the service decides about one request. */
inline decide(token, key, next, honest, repeated) {
  promised = honest && !repeated && PROMISED(token, key);
  used_up = !repeated && written[GEN(token) + 2] != NONE;
  if
  :: IS_CURRENT(token, current) && !OVER(ended) ->
     ROTATE(token, key, next); verdict = GIVEN; got = next
  :: else ->
     if
     :: ended || past_deadline -> verdict = DEAD
     :: else ->
        if
        :: next == current || next == parent -> verdict = GIVEN; got = next /* OURS */
        :: else ->
           if
           :: MAY_REPLAY(token, key) -> verdict = GIVEN; got = current
           :: else -> verdict = REUSE; late = late || honest
           fi
        fi
     fi
  fi;
  assert(!(promised && verdict != GIVEN)); /* an honest retry is answered */
  assert(!(used_up && verdict == GIVEN));  /* a token whose successor was used is dead */
  /* all callers are given the one successor */
  assert(verdict != GIVEN || got == written[GEN(token) + 1])
}

/* The second write of a reuse. */
inline end_it() {
#ifndef REUSE_ENDS_NOTHING
  atomic { if :: !ended && !past_deadline -> ended = true :: else fi };
#endif
  d_step {
    assert(ended || past_deadline); /* reuse, by anyone, ends the session */
    assert(thief_acted || late || revoked || past_deadline) /* and nothing else does */
  }
}

#ifdef GET_THEN_PUT
/* Read, decide, write: three steps. The put writes back whatever it has not changed. */
inline serve(token, key, next, honest) {
  atomic { seen = (current == token && !ended && !past_deadline); was_ended = ended };
  if
  :: seen -> atomic {
       assert(!ended || was_ended); ended = was_ended;
       ROTATE(token, key, next); verdict = GIVEN; got = next
     }
  :: else -> atomic { decide(token, key, next, honest, false) }
  fi
}
#else
inline serve(token, key, next, honest) {
  atomic { decide(token, key, next, honest, false) };
  if
  :: skip
  :: verdict == GIVEN && got == next ->
     /* repeat: the write took effect, its answer was lost on the way to the SDK */
     atomic { decide(token, key, next, honest, true) }
  fi
}
#endif

/* One request, from sending it to having its answer or knowing nothing: refresh.py refresh. */
inline refresh(token, key, next, honest) {
  verdict = LOST; got = NONE;
  if
  :: skip                       /* lost on its way, or killed before the write */
  :: atomic { honest && stray == NONE -> stray = token; stray_key = key; stray_next = next }
  :: serve(token, key, next, honest);
     if
     :: verdict == REUSE -> if :: end_it() :: skip /* killed between the writes */ fi
     :: else
     fi;
     if
     :: skip
     :: verdict = LOST; got = NONE /* killed before the answer, or the answer was lost */
     fi
  fi
}

proctype Tab(byte me; byte tries) {
  byte token = NONE, key = NONE, got = NONE, try = 0;
  mtype verdict = LOST;
  bool promised, used_up;
#ifdef GET_THEN_PUT
  bool seen, was_ended;
#endif
  do
  :: try < tries ->
     atomic {
       try++;
       if
       :: token != NONE && verdict == LOST /* the very same request again */
       :: token != NONE && verdict == LOST -> key = NONE /* again, without its key */
       :: token = credential; key = NONE
       :: token = credential; key = me * 4 + try
       fi
     };
     refresh(token, key, (GEN(token) + 1) * 16 + me * 4 + try, true);
     atomic {
       promised = false; used_up = false;
       if
       :: verdict == GIVEN && GEN(got) > GEN(credential) -> credential = got
       :: else
       fi;
       got = NONE;
       if :: verdict != LOST -> token = NONE; key = NONE; verdict = LOST :: else fi
     }
  :: else -> break
  od;
  atomic { token = NONE; key = NONE; verdict = LOST } /* fewer states that differ in nothing */
}

/* It has the right client_id and every token there ever was, but no Idempotency-Key. */
proctype Thief() {
  byte token = NONE, key = NONE, got = NONE, try = 0;
  mtype verdict = LOST;
  bool promised, used_up;
#ifdef GET_THEN_PUT
  bool seen, was_ended;
#endif
  do
  :: try < THEFTS ->
     atomic {
       try++;
       if
       :: token != NONE /* goes on with what it has */
       :: token = credential
       :: token = current
       :: parent != NONE -> token = parent
       :: token = FIRST
       fi;
       if :: key = NONE :: key = THIEFS_KEY fi;
       thief_acted = true
     };
     refresh(token, key, (GEN(token) + 1) * 16 + 10 + try, false);
     atomic {
       promised = false; used_up = false;
       if :: verdict == GIVEN -> token = got :: else fi;
       got = NONE; verdict = LOST
     }
  :: else -> break
  od;
  atomic { token = NONE; key = NONE; verdict = LOST } /* fewer states that differ in nothing */
}

/* The request that was given up, arriving at last; nobody hears its answer. */
proctype Stray() {
  byte got = NONE;
  mtype verdict = LOST;
  bool promised, used_up;
  end: stray != NONE;
  atomic { decide(stray, stray_key, stray_next, true, false); promised = false; used_up = false };
  if :: verdict == REUSE -> end_it() :: else fi
}

proctype Revoker() {
  end: if
  :: atomic { !ended && !past_deadline -> ended = true; revoked = true }
  fi
}

proctype Clock() {
  end: do
  :: in_leeway -> in_leeway = false
  :: atomic { !past_deadline -> past_deadline = true }
  od
}

init {
  atomic {
    written[GEN(FIRST)] = FIRST;
    run Tab(0, TRIES); run Tab(1, OTHERS); run Thief(); run Stray(); run Revoker(); run Clock()
  }
}
