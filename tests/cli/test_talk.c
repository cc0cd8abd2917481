// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/talk.h"

Suite *suite_talk(void);

START_TEST(draws_units_rate_and_time_left)
{
    char line[128];
    ck_assert_str_eq(talk_progress_line(line, "layer", 12, 61, 12, 4),
                     "layer 12 of 61, 3 a second, 0:16 left");
    ck_assert_str_eq(talk_progress_line(line, "layer", 0, 61, 0, 4), "layer 0 of 61");
    ck_assert_str_eq(talk_progress_line(line, "layer", 1, 61, 1, 0), "layer 1 of 61");
    ck_assert_str_eq(talk_progress_line(line, "bytes", 2000000000, 6000000000, 2000000000, 4),
                     "2.0 GB of 6.0 GB, 500 MB a second, 0:08 left");
    ck_assert_str_eq(talk_progress_line(line, "expert", 1, 100001, 1, 1),
                     "expert 1 of 100001, 1 a second, 27:46:40 left");
    ck_assert_str_eq(talk_progress_line(line, "expert", 60, 61, 50, 10),
                     "expert 60 of 61, 5 a second, 0:00 left");
}
END_TEST

START_TEST(gives_machines_json_lines)
{
    err e = ERR_INIT;
    int pipe_fd[2];
    char text[1024];
    ck_assert_int_eq(pipe(pipe_fd), 0);
    talk t = {.command = "test", .quiet = true, .progress_fd = pipe_fd[1]};
    ck_assert_msg(talk_open(&t, &e), "%s", e.text);
    event_progress(&t.sink, "layer", 1, 3);
    event_progress(&t.sink, "layer", 2, 3); // too soon for another line
    event_progress(&t.sink, "layer", 3, 3);
    event_warn(&t.sink, "tensor '%s'", "\"x");
    err_set(&e, ERR_INPUT, "no file");
    talk_close(&t, &e);
    ssize_t n = read(pipe_fd[0], text, sizeof text - 1);
    ck_assert_int_gt(n, 0);
    text[n] = 0;
    static const char *const expected[] = {
        "{\"event\":\"progress\",\"what\":\"layer\",\"done\":1,\"total\":3,\"peak_memory\":",
        "{\"event\":\"progress\",\"what\":\"layer\",\"done\":3,\"total\":3,\"peak_memory\":",
        "{\"event\":\"warning\",\"text\":\"tensor '\\\"x'\",\"seconds\":0.0",
        "{\"event\":\"result\",\"command\":\"test\",\"status\":3,\"text\":\"no file\",",
    };
    char *line = text;
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        ck_assert_msg(str_starts(line, expected[i]), "%s", line);
        line = strchr(line, '\n') + 1;
    }
    ck_assert_str_eq(line, "");
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}
END_TEST

START_TEST(gives_machines_a_heartbeat_while_nothing_moves)
{
    err e = ERR_INIT;
    int pipe_fd[2];
    char text[512];
    ck_assert_int_eq(pipe(pipe_fd), 0);
    talk t = {.command = "test", .progress_fd = pipe_fd[1]};
    ck_assert_msg(talk_open(&t, &e), "%s", e.text);
    pthread_mutex_lock(&t.lock);
    t.spoke -= TALK_HEARTBEAT; // as if that long had passed
    (void)pthread_cond_signal(&t.wake);
    pthread_mutex_unlock(&t.lock);
    ssize_t n = read(pipe_fd[0], text, sizeof text - 1); // waits for it
    ck_assert_int_gt(n, 0);
    text[n] = 0;
    ck_assert_msg(str_starts(text, "{\"event\":\"heartbeat\",\"peak_memory\":"), "%s", text);
    talk_close(&t, NULL);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}
END_TEST

// A reader that sleeps must not hold up the work, and least of all a request to stop.
START_TEST(does_not_wait_for_a_reader_that_sleeps)
{
    err e = ERR_INIT;
    int pipe_fd[2];
    char block[4096] = {0};
    ck_assert_int_eq(pipe(pipe_fd), 0);
    int flags = fcntl(pipe_fd[1], F_GETFL);
    ck_assert_int_eq(fcntl(pipe_fd[1], F_SETFL, flags | O_NONBLOCK), 0);
    while (write(pipe_fd[1], block, sizeof block) > 0)
        continue;
    ck_assert_int_eq(fcntl(pipe_fd[1], F_SETFL, flags), 0);
    talk t = {.command = "test", .quiet = true, .progress_fd = pipe_fd[1]};
    ck_assert_msg(talk_open(&t, &e), "%s", e.text);
    event_progress(&t.sink, "layer", 1, 3); // lost, as is the next one
    event_progress(&t.sink, "layer", 3, 3);
    ck_assert_int_eq(fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK), 0);
    while (read(pipe_fd[0], block, sizeof block) > 0)
        continue;
    event_warn(&t.sink, "awake");
    talk_close(&t, NULL);
    ssize_t n = read(pipe_fd[0], block, sizeof block - 1);
    ck_assert_int_gt(n, 0);
    block[n] = 0;
    ck_assert_msg(str_starts(block, "{\"event\":\"warning\",\"text\":\"awake\""), "%s", block);
    ck_assert_msg(strstr(block, "\n{\"event\":\"result\"") != NULL, "%s", block);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}
END_TEST

START_TEST(stops_when_the_time_is_over)
{
    err e = ERR_INIT;
    talk t = {.command = "test", .max_duration = 90};
    ck_assert(talk_open(&t, &e));
    ck_assert(event_go_on(&t.sink, &e));
    t.opened -= 90;
    ck_assert(!event_go_on(&t.sink, &e));
    ck_assert_int_eq(e.kind, ERR_INTERRUPTED);
    ck_assert_str_eq(e.text, "stopped after --max-duration (90 s); give the same command again");
    talk_close(&t, &e);
}
END_TEST

START_TEST(refuses_a_descriptor_that_is_not_open)
{
    err e = ERR_INIT;
    talk t = {.command = "test", .progress_fd = 987};
    ck_assert(!talk_open(&t, &e));
    ck_assert_int_eq(e.kind, ERR_USAGE);
    ck_assert_str_eq(e.text, "--progress-fd 987 is no open file descriptor");
}
END_TEST

START_TEST(stops_when_asked_to)
{
    err e = ERR_INIT;
    talk t = {.command = "test"};
    ck_assert(talk_open(&t, &e));
    ck_assert(event_go_on(&t.sink, &e));
    talk_request_stop();
    ck_assert(!event_go_on(&t.sink, &e));
    ck_assert_int_eq(e.kind, ERR_INTERRUPTED);
    talk_close(&t, NULL);
}
END_TEST

Suite *suite_talk(void)
{
    Suite *s = suite_create("talk");
    TCase *c = tcase_create("talk");
    tcase_add_test(c, draws_units_rate_and_time_left);
    tcase_add_test(c, gives_machines_json_lines);
    tcase_add_test(c, gives_machines_a_heartbeat_while_nothing_moves);
    tcase_add_test(c, does_not_wait_for_a_reader_that_sleeps);
    tcase_add_test(c, stops_when_the_time_is_over);
    tcase_add_test(c, refuses_a_descriptor_that_is_not_open);
    tcase_add_test(c, stops_when_asked_to);
    suite_add_tcase(s, c);
    return s;
}
