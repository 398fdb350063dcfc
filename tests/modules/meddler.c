/* A module for tests that changes keys in keyspace callbacks. Modules should not do this, but they can.
 *
 *   MEDDLE.ON event trigger action key    adds a rule: on `event` of the key `trigger`, delete, overwrite, rename
 *                                         or limit `key`, the last by RL.TOKEN
 *   MEDDLE.OFF                            removes all rules, and replies how many actions they ran
 *   MEDDLE.EVENTS                         replies the first 32 events since its last call, each with its key: "set k"
 *
 * After an action it sets FOREIGN keys, "foreign:0" and so on, to FILL, so that freed memory is reused.
 *
 * It declares the API functions that it uses itself, in the same way as redismodule.h. */
#include <stddef.h>
#include <string.h>

#define OK 0
#define ERR 1
#define API_VERSION 1
/* generic, string, expired, evicted, new */
#define EVENTS ((1 << 2) | (1 << 3) | (1 << 8) | (1 << 9) | (1 << 14))
#define RULES 8
#define NAME 64
#define EVENTS_KEPT 32
#define FOREIGN 8
/* As long as a stored bucket. */
#define FILL "this value is not of the module under test.."

typedef struct Ctx Ctx;
typedef struct String String;
typedef struct Reply Reply;
typedef int (*Command)(Ctx *, String **, int);
typedef int (*Callback)(Ctx *, int, const char *, String *);

static int (*GetApi)(const char *, void *);
static void (*SetModuleAttribs)(Ctx *, const char *, int, int);
static int (*CreateCommand)(Ctx *, const char *, Command, const char *, int, int, int);
static int (*SubscribeToKeyspaceEvents)(Ctx *, int, Callback);
static const char *(*StringPtrLen)(const String *, size_t *);
static Reply *(*Call)(Ctx *, const char *, const char *, ...);
static void (*FreeCallReply)(Reply *);
static int (*ReplyWithLongLong)(Ctx *, long long);
static int (*ReplyWithArray)(Ctx *, long);
static int (*ReplyWithStringBuffer)(Ctx *, const char *, size_t);
static int (*ReplyWithError)(Ctx *, const char *);
static int (*WrongArity)(Ctx *);

static struct Rule { char event[NAME], trigger[NAME], action[NAME], key[NAME]; } rules[RULES];
static int used;
static long long done;
static unsigned long long foreign;
static char events[EVENTS_KEPT][2 * NAME];
static int sent;

static int copy(char *to, String *from) {
    size_t len;
    const char *text = StringPtrLen(from, &len);
    if (len >= NAME) return ERR;
    memcpy(to, text, len);
    to[len] = 0;
    return OK;
}

static int on(Ctx *ctx, String **argv, int argc) {
    if (argc != 5) return WrongArity(ctx);
    struct Rule *rule = &rules[used];
    if (used == RULES || copy(rule->event, argv[1]) || copy(rule->trigger, argv[2]) || copy(rule->action, argv[3]) ||
        copy(rule->key, argv[4]))
        return ReplyWithError(ctx, "ERR at most 8 rules, of words of at most 63 bytes");
    return ReplyWithLongLong(ctx, ++used);
}

static int off(Ctx *ctx, String **argv, int argc) {
    (void)argv;
    if (argc != 1) return WrongArity(ctx);
    long long before = done;
    done = used = 0;
    return ReplyWithLongLong(ctx, before);
}

static int reply_events(Ctx *ctx, String **argv, int argc) {
    (void)argv;
    if (argc != 1) return WrongArity(ctx);
    ReplyWithArray(ctx, sent);
    for (int i = 0; i < sent; i++) ReplyWithStringBuffer(ctx, events[i], strlen(events[i]));
    sent = 0;
    return OK;
}

static void free_reply(Reply *reply) {
    if (reply) FreeCallReply(reply);
}

static void fill(Ctx *ctx) {
    for (int i = 0; i < FOREIGN; i++) {
        char name[NAME] = "foreign:";
        char digits[24];
        int len = 0;
        unsigned long long n = foreign++;
        do digits[len++] = '0' + n % 10; while (n /= 10);
        char *end = name + strlen(name);
        while (len) *end++ = digits[--len];
        *end = 0;
        free_reply(Call(ctx, "SET", "!cc", name, FILL));
    }
}

static int meddle(Ctx *ctx, int type, const char *event, String *key) {
    (void)type;
    size_t len;
    const char *name = StringPtrLen(key, &len);
    int matched = 0;
    if (sent < EVENTS_KEPT && len < NAME && strlen(event) < NAME) {
        char *text = events[sent++];
        strcpy(text, event);
        strcat(text, " ");
        strncat(text, name, len);
    }
    for (int i = 0; i < used; i++) {
        struct Rule *rule = &rules[i];
        if (strcmp(rule->event, event) || strlen(rule->trigger) != len || memcmp(rule->trigger, name, len)) continue;
        char away[NAME + 8] = "away:";
        strcat(away, rule->key);
        if (!strcmp(rule->action, "delete")) free_reply(Call(ctx, "DEL", "!c", rule->key));
        if (!strcmp(rule->action, "overwrite")) free_reply(Call(ctx, "SET", "!cc", rule->key, FILL));
        if (!strcmp(rule->action, "rename")) free_reply(Call(ctx, "RENAME", "!cc", rule->key, away));
        if (!strcmp(rule->action, "limit")) free_reply(Call(ctx, "RL.TOKEN", "!ccc", rule->key, "1/1000d", "1000"));
        done++;
        matched = 1;
    }
    if (matched) fill(ctx);
    return OK;
}

#define GET(function) GetApi("RedisModule_" #function, (void *)&function)

int RedisModule_OnLoad(Ctx *ctx, String **argv, int argc) {
    (void)argv, (void)argc;
    GetApi = (int (*)(const char *, void *))((void **)ctx)[0];
    GET(SetModuleAttribs), GET(CreateCommand), GET(SubscribeToKeyspaceEvents), GET(StringPtrLen), GET(Call);
    GET(FreeCallReply), GET(ReplyWithArray), GET(ReplyWithStringBuffer), GET(ReplyWithLongLong), GET(ReplyWithError);
    GET(WrongArity);
    SetModuleAttribs(ctx, "meddler", 1, API_VERSION);
    if (CreateCommand(ctx, "meddle.on", on, "", 0, 0, 0) || CreateCommand(ctx, "meddle.off", off, "", 0, 0, 0) ||
        CreateCommand(ctx, "meddle.events", reply_events, "", 0, 0, 0))
        return ERR;
    return SubscribeToKeyspaceEvents(ctx, EVENTS, meddle);
}
