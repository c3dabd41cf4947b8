//! What adapters do wrong.

/// One thing that an adapter does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Never tells the node that time has passed.
    DropsTimeouts,
    /// Tells the node that time has passed only when no datagram has come for a while.
    StarvesTimers,
    /// Looks at the clock once a second.
    TicksOnceASecond,
    /// Looks every millisecond whether there is something to do.
    TicksEveryMillisecond,
    /// Sends one datagram after each input, whatever else is ready.
    SendsOneAtATime,
    /// Has the node accept a command, and looks at what follows when something else happens.
    SleepsThroughCommands,
    /// Accepts commands and does not carry out some of them.
    LosesCommands,
    /// Accepts deletes of the shared map and does not carry them out.
    LosesDeletes,
    /// Lets the last write win where both are to be kept.
    DecidesConflicts,
    /// Does not tell of conflicts.
    HidesConflicts,
    /// Has the node's time begin some time after the wall clock that it was told.
    StartsItsClockLate,
    /// Says that every command was accepted.
    SwallowsRefusals,
    /// Holds the lock on the node while it waits for a datagram.
    LocksWhileItWaits,
    /// Tells a later event before an earlier one.
    ReordersEvents,
    /// Tells every event twice.
    RepeatsEvents,
    /// Does not tell that events were lost.
    ForgetsLagged,
    /// Hands events over to the consumer, and waits until it takes them.
    BlocksOnItsConsumer,
    /// Takes all events out of the node and keeps them until the consumer comes.
    HoardsEvents,
    /// Does not tell a waiting consumer of an event.
    LeavesItsConsumerWaiting,
    /// Does not tell a consumer of the end.
    NeverEndsItsEvents,
    /// Takes a socket that is full for a datagram that is lost.
    DropsWhatWouldBlock,
    /// Does nothing else while its socket is full.
    StallsWhileItsSocketIsFull,
    /// Reads into a buffer of the node's limit, so that longer datagrams are cut.
    CutsOversize,
    /// Takes an empty datagram for the end of the stream.
    EndsAtAnEmptyDatagram,
    /// Stops when the system refuses to send a datagram.
    DiesOfAFailedSend,
    /// Keeps what it received.
    KeepsDatagrams,
    /// Handles datagrams until there are none left, and does nothing else meanwhile.
    PollsBusily,
    /// Binds another address where the one asked for is in use.
    SwallowsTheBindError,
    /// Takes the silence of its own pause for that of the others, by hiding it from the node.
    HidesItsPauses,
    /// Leaves in good order where it should stop without a word.
    SaysGoodbyeInACrash,
    /// Goes on when it is shut down.
    IgnoresShutdown,
    /// Goes on after it has left.
    StaysAfterLeaving,
    /// Goes on when nobody holds it any more.
    RunsForEver,
}
