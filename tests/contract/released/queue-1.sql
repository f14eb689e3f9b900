BEGIN TRANSACTION;
CREATE TABLE queue_messages (
	position INTEGER NOT NULL, 
	queue VARCHAR(256) NOT NULL, 
	body BLOB NOT NULL, 
	properties TEXT NOT NULL, 
	deliveries INTEGER NOT NULL, 
	token VARCHAR(32), 
	claimed_until FLOAT NOT NULL, 
	died_in VARCHAR(256), 
	reason TEXT, 
	died_at FLOAT, 
	PRIMARY KEY (position)
);
INSERT INTO "queue_messages" VALUES(1,'eye_dx_screenings',X'E6B58BE8AF9530','{"message_id":"m-0","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',1,NULL,0.0,NULL,NULL,NULL);
INSERT INTO "queue_messages" VALUES(2,'eye_dx_screenings',X'E6B58BE8AF9531','{"message_id":"m-1","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',1,NULL,0.0,NULL,NULL,NULL);
INSERT INTO "queue_messages" VALUES(3,'eye_dx_screenings',X'E6B58BE8AF9532','{"message_id":"m-2","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',1,NULL,0.0,NULL,NULL,NULL);
INSERT INTO "queue_messages" VALUES(4,'eye_dx_reviews',X'636C61696D6564207768656E207468652070726F6772616D2073746F70706564','{"message_id":"r-0","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',1,'cd4e501025a84e299120b44c3fa28797',1.79560446785297131541e+09,NULL,NULL,NULL);
INSERT INTO "queue_messages" VALUES(5,'eye_dx_dead',X'626164','{"message_id":"m-bad","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',0,NULL,0.0,'eye_dx_screenings','not JSON',1.79560440785256862639e+09);
CREATE INDEX ix_queue_messages_queue_position ON queue_messages (queue, position);
COMMIT;
