/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests on machines without a GPU; the real `pynvml` is used with it.
 *
 * Build: cc -shared -fPIC -O2 -Wl,-soname,libnvidia-ml.so.1 -o DIR/libnvidia-ml.so.1 fake_nvml.c
 * Use:   LD_LIBRARY_PATH=DIR FAKE_NVML_STATE=FILE python ...
 *
 * FILE says what there is; it is read again when it changes. A line each:
 *
 *   driver VERSION
 *   gpu    INDEX NAME UTIL% MEMORY_UTIL% USED_MIB TOTAL_MIB CELSIUS WATTS
 *   energy INDEX JOULES             since the driver was loaded
 *   mig    INDEX MIB                one more instance of a card that is split
 *   proc   INDEX PID MIB            MIB -1: not available
 *   err    SYMBOL CODE              every function whose name begins so returns CODE
 *   err    SYMBOL@INDEX CODE        only for that card
 *   stall  SYMBOL                   every function whose name begins so does not return while the line is there
 *
 * Without FILE there are four idle cards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CARDS 16
#define PROCESSES 256
#define INSTANCES 8
#define RULES 64

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef unsigned int Unsigned;
typedef unsigned long long Wide;
typedef struct Handle *Device;

typedef struct {
    int present;
    char name[64];
    Unsigned utilization, memory_utilization, celsius, watts;
    Wide used_mib, total_mib, joules;
    int instances;
    Wide instance_mib[INSTANCES];
} Card;

static struct {
    Card cards[CARDS];
    int card_count;
    struct { int card; Unsigned pid; long long mib; } processes[PROCESSES];
    int process_count;
    struct { char symbol[64]; int card, code; } errors[RULES];
    int error_count;
    char stalled[RULES][64];
    int stall_count;
    char driver[32];
} state;

static struct timespec seen;
static int loaded;

static void four_idle_cards(void)
{
    for (state.card_count = 0; state.card_count < 4; state.card_count++) {
        Card *card = &state.cards[state.card_count];
        card->present = 1;
        strcpy(card->name, "Fake-80GB");
        card->total_mib = 81920;
        card->celsius = 35;
        card->watts = 60;
    }
}

static void read_line(const char *line)
{
    int index, code, fields;
    Unsigned pid;
    long long mib;
    Wide number;
    char symbol[64];
    Card card;

    memset(&card, 0, sizeof card);
    fields = sscanf(line, "gpu %d %63s %u %u %llu %llu %u %u", &index, card.name, &card.utilization,
                    &card.memory_utilization, &card.used_mib, &card.total_mib, &card.celsius, &card.watts);
    if (fields == 8 && index >= 0 && index < CARDS) {
        card.present = 1;
        state.cards[index] = card;
        if (index >= state.card_count)
            state.card_count = index + 1;
    } else if (sscanf(line, "energy %d %llu", &index, &number) == 2 && index >= 0 && index < CARDS) {
        state.cards[index].joules = number;
    } else if (sscanf(line, "mig %d %llu", &index, &number) == 2 && index >= 0 && index < CARDS) {
        Card *split = &state.cards[index];
        if (split->instances < INSTANCES)
            split->instance_mib[split->instances++] = number;
    } else if (sscanf(line, "proc %d %u %lld", &index, &pid, &mib) == 3 && state.process_count < PROCESSES) {
        state.processes[state.process_count].card = index;
        state.processes[state.process_count].pid = pid;
        state.processes[state.process_count++].mib = mib;
    } else if (sscanf(line, "err %63[^@ ]@%d %d", symbol, &index, &code) == 3 && state.error_count < RULES) {
        strcpy(state.errors[state.error_count].symbol, symbol);
        state.errors[state.error_count].card = index;
        state.errors[state.error_count++].code = code;
    } else if (sscanf(line, "err %63s %d", symbol, &code) == 2 && state.error_count < RULES) {
        strcpy(state.errors[state.error_count].symbol, symbol);
        state.errors[state.error_count].card = -1;
        state.errors[state.error_count++].code = code;
    } else if (sscanf(line, "stall %63s", symbol) == 1 && state.stall_count < RULES) {
        strcpy(state.stalled[state.stall_count++], symbol);
    } else {
        sscanf(line, "driver %31s", state.driver);
    }
}

static void load(void)
{
    const char *path = getenv("FAKE_NVML_STATE");
    struct stat status;
    char line[256];
    FILE *file;

    if (!path || stat(path, &status)) {
        if (!loaded)
            four_idle_cards();
        loaded = 1;
        return;
    }
    if (loaded && status.st_mtim.tv_sec == seen.tv_sec && status.st_mtim.tv_nsec == seen.tv_nsec)
        return;
    file = fopen(path, "r");
    if (!file)
        return;
    seen = status.st_mtim;
    loaded = 1;
    memset(&state, 0, sizeof state);
    strcpy(state.driver, "570.00.00");
    while (fgets(line, sizeof line, file))
        read_line(line);
    fclose(file);
}

static int is_stalled(const char *function)
{
    load();
    for (int rule = 0; rule < state.stall_count; rule++)
        if (!strncmp(function, state.stalled[rule], strlen(state.stalled[rule])))
            return 1;
    return 0;
}

/* What every function does first; a card of -1 is none in particular. */
static int enter(const char *function, int card)
{
    while (is_stalled(function))
        usleep(10000);
    for (int rule = 0; rule < state.error_count; rule++) {
        const char *symbol = state.errors[rule].symbol;
        int wanted = state.errors[rule].card;
        if (!strncmp(function, symbol, strlen(symbol)) && (wanted < 0 || wanted == card))
            return state.errors[rule].code;
    }
    return SUCCESS;
}

/* A handle is the index and one; from 100 on it is an instance: 100 * (index + 1) + place. */
static int index_of(Device device)
{
    long number = (long)device;
    return number < 100 ? (int)number - 1 : (int)(number / 100) - 1;
}

static int place_of(Device device)
{
    long number = (long)device;
    return number < 100 ? -1 : (int)(number % 100);
}

#define ENTER                                                                                                          \
    do {                                                                                                               \
        int code = enter(__func__, -1);                                                                                \
        if (code)                                                                                                      \
            return code;                                                                                               \
    } while (0)

#define ENTER_CARD                                                                                                     \
    int index = index_of(device);                                                                                      \
    Card *card = &state.cards[index];                                                                                  \
    do {                                                                                                               \
        int code = enter(__func__, index);                                                                             \
        if (code)                                                                                                      \
            return code;                                                                                               \
        if (index < 0 || index >= state.card_count || !card->present)                                                  \
            return INVALID_ARGUMENT;                                                                                   \
        (void)card;                                                                                                    \
    } while (0)

int nvmlInitWithFlags(Unsigned flags) { (void)flags; ENTER; return SUCCESS; }
int nvmlInit_v2(void) { ENTER; return SUCCESS; }
int nvmlShutdown(void) { ENTER; return SUCCESS; }

const char *nvmlErrorString(int code)
{
    static char text[40];
    snprintf(text, sizeof text, "stand-in error %d", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *text, Unsigned size) { ENTER; snprintf(text, size, "%s", state.driver); return SUCCESS; }

int nvmlDeviceGetCount_v2(Unsigned *count) { ENTER; *count = state.card_count; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(Unsigned number, Device *handle)
{
    int code = enter(__func__, (int)number);
    if (code)
        return code;
    if ((int)number >= state.card_count || !state.cards[number].present)
        return INVALID_ARGUMENT;
    *handle = (Device)(long)(number + 1);
    return SUCCESS;
}

int nvmlDeviceGetName(Device device, char *text, Unsigned size)
{
    ENTER_CARD;
    snprintf(text, size, place_of(device) < 0 ? "%s" : "%s MIG", card->name);
    return SUCCESS;
}

int nvmlDeviceGetUUID(Device device, char *text, Unsigned size)
{
    ENTER_CARD;
    if (place_of(device) < 0)
        snprintf(text, size, "GPU-%08d-0000-0000-0000-000000000000", index);
    else
        snprintf(text, size, "MIG-%08d-0000-0000-0000-%012d", index, place_of(device));
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device device, Unsigned *rates)
{
    ENTER_CARD;
    if (card->instances)
        return NOT_SUPPORTED; /* as the real one for a card that is split */
    rates[0] = card->utilization;
    rates[1] = card->memory_utilization;
    return SUCCESS;
}

static void memory_of(Device device, const Card *card, Wide *total, Wide *used)
{
    int place = place_of(device);
    *total = (place < 0 ? card->total_mib : card->instance_mib[place]) << 20;
    *used = place < 0 ? card->used_mib << 20 : 0;
}

int nvmlDeviceGetMemoryInfo(Device device, Wide *info)
{
    ENTER_CARD;
    memory_of(device, card, &info[0], &info[2]);
    info[1] = info[0] - info[2];
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(Device device, Wide *info)
{
    ENTER_CARD;
    memory_of(device, card, &info[1], &info[4]);
    info[2] = 400ULL << 20; /* what the driver keeps */
    info[3] = info[1] - info[2] - info[4];
    return SUCCESS;
}

int nvmlDeviceGetTemperature(Device device, Unsigned sensor, Unsigned *celsius)
{
    ENTER_CARD;
    (void)sensor;
    *celsius = card->celsius;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Device device, Unsigned *milliwatts) { ENTER_CARD; *milliwatts = card->watts * 1000; return SUCCESS; }
int nvmlDeviceGetEnforcedPowerLimit(Device device, Unsigned *milliwatts) { ENTER_CARD; *milliwatts = 400000; return SUCCESS; }
int nvmlDeviceGetTotalEnergyConsumption(Device device, Wide *millijoules) { ENTER_CARD; *millijoules = card->joules * 1000; return SUCCESS; }

int nvmlDeviceGetClockInfo(Device device, Unsigned kind, Unsigned *mhz)
{
    ENTER_CARD;
    *mhz = kind == 1 ? 1410 : 1593; /* of the processors, of the memory */
    return SUCCESS;
}

int nvmlDeviceGetMigMode(Device device, Unsigned *current, Unsigned *pending)
{
    ENTER_CARD;
    if (!card->instances)
        return NOT_SUPPORTED;
    *current = *pending = 1;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device device, Unsigned *count) { ENTER_CARD; *count = INSTANCES - 1; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(Device device, Unsigned place, Device *instance)
{
    ENTER_CARD;
    if ((int)place >= card->instances)
        return NOT_FOUND;
    *instance = (Device)(100L * (index + 1) + (long)place);
    return SUCCESS;
}

typedef struct { Unsigned pid; Wide memory; Unsigned gpu_instance, compute_instance; } ProcessInfo;

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, Unsigned *count, ProcessInfo *found)
{
    ENTER_CARD;
    Unsigned size = found ? *count : 0, number = 0;
    for (int place = 0; place < state.process_count; place++) {
        if (state.processes[place].card != index)
            continue;
        if (number < size) {
            long long mib = state.processes[place].mib;
            found[number].pid = state.processes[place].pid;
            found[number].memory = mib < 0 ? ~0ULL : (Wide)mib << 20;
            found[number].gpu_instance = found[number].compute_instance = ~0U;
        }
        number++;
    }
    *count = number;
    return number > size ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, Unsigned *count, ProcessInfo *found)
{
    ENTER_CARD;
    (void)found;
    *count = 0;
    return SUCCESS;
}
